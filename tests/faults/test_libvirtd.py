"""F2, F5, F6, F11 on a private libvirtd with real QEMU: it is killed, hangs and comes back while the portal works."""

import signal
import time

import pytest

from tests.faults.conftest import BOOTED

pytestmark = pytest.mark.timeout(900)


def seen(portal, name):
    return portal("machines")[name][1:3]


def resynced(portal):
    portal.wait(lambda: portal("node")[0] and portal("node")[1] < 5, 60, "the agent has compared again")


def test_guests_outlive_libvirtd_and_nobody_is_said_to_have_stopped_F5(portal, host, running):
    name, uuid = running
    host.kill()
    portal.wait(lambda: not portal("node")[0], 60, "the agent has noticed")
    assert host.qemu_lives(uuid)
    assert seen(portal, name) == ["running", "running"]
    operation = portal("ask", "pause", name)
    host.start()
    resynced(portal)
    done = portal.settled(120)
    assert next(row[2] for row in done if row[0] == operation) == "succeeded"
    assert seen(portal, name) == ["paused", "paused"]
    portal("ask", "resume", name)
    portal.settled(120)
    assert host.qemu_lives(uuid)


def test_a_killed_qemu_is_seen_and_not_started_again_F6(portal, host, running):
    name, uuid = running
    host.kill_qemu(uuid)
    portal.wait(lambda: seen(portal, name)[1] in ("stopped", "crashed"), 40, "the death was seen")
    portal.settled(60)
    assert seen(portal, name)[0] == "stopped"
    assert not host.qemu_lives(uuid)


def test_a_qemu_killed_while_libvirtd_was_away_is_seen_at_its_return_F6(portal, host, running):
    name, uuid = running
    host.kill()
    host.kill_qemu(uuid)
    host.start()
    portal.wait(lambda: seen(portal, name)[1] in ("stopped", "crashed"), 60, "the death was seen")
    portal.settled(60)
    assert seen(portal, name)[0] == "stopped"
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
