"""F2, F5, F6, F11 on a private libvirtd with real QEMU: it is killed, hangs and comes back while the portal works."""

import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.faults.conftest import BOOTED
from tests.pace import comes_in_time
from tests.rfb import RETURN, Viewer, open_console

pytestmark = pytest.mark.timeout(900)
SEEN_SECONDS, RESYNC_SECONDS = 2.0, 5.0  # RELIABILITY: with an event, and after libvirtd came back


def seen(portal, name):
    return portal("machines")[name][1:3]


def comes_back(portal, host):
    """Start libvirtd; the agent has to compare again soon after it answers."""
    began = time.monotonic()
    host.start()

    def compared():
        good, age = portal("node")
        return good and age < time.monotonic() - began

    comes_in_time(compared, "the agent has compared again after libvirtd answered", RESYNC_SECONDS)


def lasting(usage):
    """What a machine counts whether it is on or off."""
    return {dimension: amount for dimension, amount in usage.items() if not dimension.startswith("running_")}


def died(portal, name):
    return portal("machines")[name][1:] == ["stopped", "stopped", "crashed"]


def test_guests_outlive_libvirtd_and_nobody_is_said_to_have_stopped_F5(portal, host, running):
    name, uuid = running
    host.kill()
    portal.wait(lambda: not portal("node")[0], 60, "the agent has noticed")
    assert host.qemu_lives(uuid)
    assert seen(portal, name) == ["running", "running"]
    operation = portal("ask", "pause", name)
    comes_back(portal, host)
    done = portal.settled(120)
    assert next(row[2] for row in done if row[0] == operation) == "succeeded"
    assert seen(portal, name) == ["paused", "paused"]
    portal("ask", "resume", name)
    portal.settled(120)
    assert host.qemu_lives(uuid)


def test_a_killed_qemu_is_seen_and_not_started_again_F6(portal, host, running):
    name, uuid = running
    usage, operations = portal("usage"), portal("operations")
    host.kill_qemu(uuid)
    comes_in_time(lambda: died(portal, name), "QEMU was killed, and is said to have crashed", SEEN_SECONDS)
    portal.settled(60)
    assert lasting(portal("usage")) == lasting(usage)
    assert portal("usage")["running_vms"] == usage["running_vms"] - 1
    assert len(portal("operations")) == len(operations)
    assert not host.qemu_lives(uuid)


def test_a_qemu_killed_while_libvirtd_was_away_is_seen_at_its_return_F6(portal, host, running):
    name, uuid = running
    usage, operations = portal("usage"), portal("operations")
    host.kill()
    host.kill_qemu(uuid)
    portal.wait(lambda: not portal("node")[0], 60, "the agent has noticed")
    host.start()
    comes_in_time(
        lambda: seen(portal, name) == ["stopped", "stopped"], "the death is seen at its return", RESYNC_SECONDS
    )
    portal.settled(60)
    assert lasting(portal("usage")) == lasting(usage)
    assert len(portal("operations")) == len(operations)
    assert not host.qemu_lives(uuid)


def test_a_libvirtd_that_stands_still_delays_and_loses_nothing_F11(portal, host, running):
    name, _uuid = running
    host.signal(signal.SIGSTOP, "libvirtd -d")
    operation = portal("ask", "force_off", name)
    portal.wait(lambda: not portal("node")[0] or portal("node")[1] > 40, 90, "the agent has noticed")
    host.signal(signal.SIGCONT, "libvirtd -d")
    done = portal.settled(180)
    assert next(row[2] for row in done if row[0] == operation) == "succeeded"
    assert seen(portal, name) == ["stopped", "stopped"]


def ticket(portal, name, kind):
    """Ask the API for a console, as a program does."""
    headers = {"Authorization": f"Bearer {portal('token')}"}
    url = f"http://127.0.0.1:{portal.port}/api/v1/vms/{portal('vm', name)[0]}/console"
    answer = httpx.post(url, json={"kind": kind}, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text
    return answer.json()


def says_something(socket, seconds=60):
    """Type a line on a serial console and wait for its echo."""
    until = time.monotonic() + seconds
    heard = b""
    while b"knock" not in heard:
        assert time.monotonic() < until, f"no echo: {heard[-200:]!r}"
        socket.send(b"knock\r")
        try:
            heard += socket.recv(timeout=2)
        except TimeoutError:
            continue
    return True


def test_consoles_stay_open_while_libvirtd_is_killed_and_comes_back_F5(portal, host, running):
    name, _uuid = running
    for process in ("gateway", "web"):
        portal.start(process)
    with open_console(ticket(portal, name, "serial")) as serial, open_console(ticket(portal, name, "vnc")) as vnc:
        viewer = Viewer(vnc)
        assert says_something(serial)
        host.kill()
        portal.wait(lambda: not portal("node")[0], 60, "the agent has noticed")
        assert says_something(serial)
        viewer.press(RETURN)
        assert len(viewer.look()) == viewer.width * viewer.height * 4
        comes_back(portal, host)
        assert says_something(serial)
        assert viewer.look()
        portal("ask", "force_off", name)
        with pytest.raises(ConnectionClosed):
            drain(vnc)
    portal.settled()


def drain(socket):
    """Read until it is closed."""
    while True:
        socket.recv(timeout=60)


SECRETS = {
    "password": "canary-password-7f3a",
    "user_data": "#cloud-config\n# canary-user-data-7f3a\n",
    "description": "not a secret",
}
CANARY = b"canary-"


def test_secrets_stay_where_they_belong_A23(portal, host):
    """Through create, a killed worker, stop and delete: no log, message, command line or column has them."""
    lines: set[bytes] = set()
    with (portal.home / "monitor").open("wb") as heard:
        monitor = subprocess.Popen(["redis-cli", "-s", str(portal.socket), "monitor"], stdout=heard)
        try:
            portal("create", "v-secret", SECRETS)
            portal.wait(lambda: portal("held"), 60, "a worker has begun")
            portal.kill("worker")
            portal.start("worker")

            def ended():
                lines.update(commands())
                return portal("live") == 0

            portal.wait(ended, BOOTED, "the create has ended")
            portal("ask", "force_off", "v-secret")
            portal.settled()
            portal("ask", "delete", "v-secret")
            portal.settled()
            portal.redis("save")
        finally:
            monitor.kill()
            monitor.wait()
    looked = [portal.home / "monitor", portal.home / "dump.rdb", *portal.home.glob("*.log")]
    looked += [path for path in (portal.home / "own/var/log/libvirt").rglob("*") if path.is_file()]
    assert any(b"qemu-system" in line for line in lines)
    assert b"run_operation" in (portal.home / "monitor").read_bytes()  # it did listen
    for path in looked:
        assert CANARY not in path.read_bytes(), path
    assert not [line for line in lines if CANARY in line]
    database = (portal.home / "db.sqlite3").read_bytes() + (portal.home / "db.sqlite3-wal").read_bytes()
    assert CANARY not in database
    assert b"v-secret" in database


def commands():
    """Every command line of this machine."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield (folder / "cmdline").read_bytes()
        except OSError:
            continue


def test_workers_killed_while_they_make_real_machines_F2(portal, host, running):
    for number, seconds in enumerate((0.3, 1.0, 2.5), start=2):
        portal("create", f"v-{number}")
        portal.wait(lambda: portal("held"), 60, "a worker has begun")
        time.sleep(seconds)  # where it dies is the fault
        portal.kill("worker")
        portal.start("worker")
        portal.wait(lambda: portal("live") == 0, BOOTED, "the create has ended")
        assert seen(portal, f"v-{number}") == ["running", "running"]
    for name in portal("machines"):
        portal("ask", "delete", name)
    done = portal.settled(BOOTED)
    assert portal("machines") == {}
    assert all(row[2] == "succeeded" for row in done if row[1] in ("create", "delete"))
