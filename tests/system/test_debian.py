"""The main job on an ordinary Debian with cloud-init: what was asked for is so inside the guest."""

import base64
import json
import secrets
import subprocess

import bcrypt
import libvirt
import libvirt_qemu
import pytest

from tests.live import ROOT, Live, traces, wait_for

pytestmark = pytest.mark.timeout(1800)  # builds the image where it is not there yet, and boots a whole Debian

PASSWORD = "open-sesame-42"
BOOT_SECONDS = 300
USER_DATA = "#!/bin/sh\nid -un >/var/tmp/asked-for\n"
IMAGE = ROOT / "var" / "cache" / "images" / "debian-12.qcow2"


class Guest:
    """Looks into a running guest through its agent."""

    def __init__(self, domain: libvirt.virDomain) -> None:
        self.domain = domain

    def call(self, command, **arguments):
        request = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(libvirt_qemu.qemuAgentCommand(self.domain, request, 20, 0))["return"]

    def run(self, *command):
        """Run a command as root; return its exit code and output."""
        started = self.call("guest-exec", **{"path": command[0], "arg": command[1:], "capture-output": True})
        done = wait_for(
            lambda: (now := self.call("guest-exec-status", pid=started["pid"]))["exited"] and now, 120, str(command)
        )
        return done["exitcode"], base64.b64decode(done.get("out-data", "")).decode()

    def read(self, path):
        code, text = self.run("/bin/cat", path)
        assert code == 0, f"no {path}"
        return text


@pytest.fixture(scope="module")
def image(live: Live) -> str:
    """Debian 12 in this installation's catalogue; built from packages unless that was done before."""
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    build = [ROOT / "guests" / "build", "debian-12", IMAGE, "--cache", ROOT / "var" / "cache" / "guests"]
    subprocess.run(build, check=True, timeout=1200)
    live.manage("add_image", "debian-12", str(IMAGE))
    return "debian-12"


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice@desk", "-f", path], check=True)
    return path


@pytest.fixture(scope="module")
def vm(alice, image, key):
    public = key.with_suffix(".pub").read_text().strip()
    made = alice.create(
        f"deb-{secrets.token_hex(3)}", image, "small", BOOT_SECONDS,
        project="harbor", ssh_keys=[public], password=PASSWORD, user_data=USER_DATA,
    )  # fmt: skip
    yield made
    alice.delete(made["id"])


@pytest.fixture(scope="module")
def guest(host, vm) -> Guest:
    """The guest, once cloud-init has done all of its work."""
    found = Guest(host.lookupByUUIDString(vm["domain_uuid"]))
    wait_for(lambda: found.run("/usr/bin/test", "-e", "/run/cloud-init/result.json")[0] == 0, 300, "cloud-init")
    return found


def test_cloud_init_ended_without_errors(guest):
    result = json.loads(guest.read("/run/cloud-init/result.json"))["v1"]
    assert result["errors"] == []
    assert "NoCloud" in result["datasource"]


def test_the_guest_bears_the_name_of_its_machine(guest, vm):
    assert guest.call("guest-get-host-name")["host-name"] == vm["name"]
    assert guest.read("/etc/hostname").strip() == vm["name"]


def test_the_key_of_the_create_call_is_the_one_that_may_enter(guest, key):
    lines = guest.read("/home/slipway/.ssh/authorized_keys").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        key.with_suffix(".pub").read_text().strip()
    ]


def test_the_password_of_the_create_call_is_set(guest):
    line = next(line for line in guest.read("/etc/shadow").splitlines() if line.startswith("slipway:"))
    assert bcrypt.checkpw(PASSWORD.encode(), line.split(":")[1].encode())


def test_the_script_of_the_create_call_ran_once_as_root(guest):
    assert guest.read("/var/tmp/asked-for") == "root\n"


def test_the_disk_has_grown_to_the_size_that_was_picked(guest, vm):
    code, size = guest.run("/bin/df", "--block-size=1", "--output=size", "/")
    assert code == 0
    assert int(size.split()[1]) > 0.9 * vm["disk_gib"] * 2**30


def test_the_host_reaches_it_by_ssh_with_that_key(guest, vm, key):
    options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=10"]
    login = ["ssh", "-i", key, *(part for option in options for part in ("-o", option))]
    asked = [*login, f"slipway@{vm['ip_addresses'][0]}", "hostname; sudo -n id -u"]

    def attempt():
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
        return done if done.returncode == 0 else None

    assert wait_for(attempt, 90, "no login over SSH").stdout.split() == [vm["name"], "0"]


def test_stop_asks_the_guest_and_it_obeys(alice, host, guest, vm):
    assert alice.do(vm["id"], "stop")["status"] == "stopped"
    by_itself = [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN]
    assert host.lookupByUUIDString(vm["domain_uuid"]).state() == by_itself


def test_deleting_it_leaves_nothing(live, alice, vm):
    assert traces(live, vm["domain_uuid"])
    alice.delete(vm["id"])
    assert traces(live, vm["domain_uuid"]) == []
