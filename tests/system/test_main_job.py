"""The main job on real parts: what the portal says is so in libvirt, in the guest and on the disk."""

import re
import secrets
import subprocess
from pathlib import Path

import libvirt
import libvirt_qemu
import pytest

from tests.live import Api, Live, traces, wait_for
from tests.pace import comes_in_time

SEEN_SECONDS = 2.0  # with an event
OFF, RUNNING, PAUSED = libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED


@pytest.fixture(scope="module")
def micro(alice):
    """One micro machine for the tests of this module, in the order in which they stand."""
    vm = alice.create(f"sys-{secrets.token_hex(3)}", project="harbor")
    yield vm
    alice.delete(vm["id"])


def state(host, vm):
    return host.lookupByUUIDString(vm["domain_uuid"]).state()[0]


def read(alice, vm):
    return alice.call("GET", f"vms/{vm['id']}")


def test_a_created_machine_runs_and_its_guest_answers(alice, host, micro):
    assert (micro["status"], micro["observed_state"], micro["desired_state"]) == ("running",) * 3
    domain = host.lookupByUUIDString(micro["domain_uuid"])
    assert domain.state()[0] == RUNNING
    assert '"return"' in libvirt_qemu.qemuAgentCommand(domain, '{"execute":"guest-ping"}', 5, 0)
    assert domain.info()[1] == micro["memory_mib"] * 1024
    assert domain.maxVcpus() == micro["vcpus"]


def test_the_domain_has_no_tcp_display_and_nothing_of_the_tenant_in_it(host, micro):
    xml = host.lookupByUUIDString(micro["domain_uuid"]).XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
    assert "<listen type='none'/>" in xml
    assert not re.search(r"port='59\d\d'", xml)
    assert micro["name"] not in xml
    pid = Path(f"/run/libvirt/qemu/{re.search(r'<name>(.*?)</name>', xml)[1]}.pid").read_text().strip()
    sockets = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    assert f"pid={pid}," not in sockets


def test_the_address_is_the_guests(alice, host, micro):
    import json

    domain = host.lookupByUUIDString(micro["domain_uuid"])

    def addresses():
        answer = json.loads(libvirt_qemu.qemuAgentCommand(domain, '{"execute":"guest-network-get-interfaces"}', 5, 0))
        return [a["ip-address"] for card in answer["return"] for a in card.get("ip-addresses", [])]

    wait_for(lambda: micro["ip_addresses"][0] in addresses(), 60, "the guest has not taken its address")


@pytest.mark.parametrize(
    ("verb", "status", "in_libvirt"),
    [
        ("pause", "paused", PAUSED),
        ("resume", "running", RUNNING),
        ("reboot", "running", RUNNING),
        ("stop", "stopped", OFF),
        ("start", "running", RUNNING),
        ("force-off", "stopped", OFF),
    ],
)
def test_each_verb_is_true_in_libvirt(alice, host, micro, verb, status, in_libvirt):
    assert alice.do(micro["id"], verb)["status"] == status
    assert state(host, micro) == in_libvirt


def test_a_resize_gives_the_guest_its_disk_and_memory(alice, host, micro):
    assert alice.do(micro["id"], "resize", {"flavor": "medium"})["disk_gib"] == 16
    alice.do(micro["id"], "start")
    domain = host.lookupByUUIDString(micro["domain_uuid"])
    assert domain.info()[1] == 1024 * 1024
    assert domain.maxVcpus() == 2
    target = re.search(r"<target dev='(vd\w)' bus='virtio'", domain.XMLDesc())[1]
    assert domain.blockInfo(target)[0] == 16 * 2**30


# --- behind our back (F16, F17) --------------------------------------------------------------------------------
def test_what_virsh_does_is_shown_within_seconds_F16(alice, host, micro):
    domain = host.lookupByUUIDString(micro["domain_uuid"])
    if domain.state()[0] != RUNNING:
        alice.do(micro["id"], "start")
    for act, status in ((domain.suspend, "paused"), (domain.resume, "running"), (domain.destroy, "stopped")):
        act()
        comes_in_time(lambda: read(alice, micro)["status"] == status, f"shown as {status}", SEEN_SECONDS)  # noqa: B023
    domain.create()
    comes_in_time(lambda: read(alice, micro)["status"] == "running", "shown as running", SEEN_SECONDS)
    comes_in_time(lambda: read(alice, micro)["desired_state"] == "running", "the wish has followed", SEEN_SECONDS)


def test_an_undefined_domain_is_missing_and_comes_back_when_it_is_started_F17(alice, host, micro):
    domain = host.lookupByUUIDString(micro["domain_uuid"])
    if domain.isActive():
        domain.destroy()
    wait_for(lambda: read(alice, micro)["status"] == "stopped", 10, "not shown as stopped")
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    found = wait_for(lambda: (vm := read(alice, micro))["observed_state"] == "absent" and vm, 45, "not shown as absent")
    assert found["status_reason"] == "domain_missing"
    assert alice.do(micro["id"], "start")["status"] == "running"


def test_deleting_a_running_machine_leaves_nothing(live: Live, alice: Api, host):
    vm = alice.create(f"gone-{secrets.token_hex(3)}", project="harbor")
    assert traces(live, vm["domain_uuid"])
    alice.delete(vm["id"])
    assert traces(live, vm["domain_uuid"]) == []
    network = host.networkLookupByName(f"slipway-{live.installation_id}")
    assert vm["ip_addresses"][0] not in network.XMLDesc()


def test_a_machine_of_someone_else_does_not_exist(live, micro):
    with live.api("charlie") as charlie:
        charlie.call("GET", f"vms/{micro['id']}", status=404)
        charlie.call("POST", f"vms/{micro['id']}/stop", {}, status=404)
        assert micro["id"] not in str(charlie.call("GET", "vms"))


def test_the_demo_command_tells_the_whole_story(live):
    result = live.manage("demo")
    assert "deleted, nothing is left" in result.stdout
    assert "RFB" in result.stdout
