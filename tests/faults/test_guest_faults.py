"""F7, F8, F9 with real guests: they panic, reset for ever, fill their pool; and a pool that has no room for a disk."""

import time

import pytest

from tests.faults.conftest import BOOTED, ROOMY
from tests.live import wait_for
from tests.pace import comes_in_time

pytestmark = pytest.mark.timeout(900)
MIB = 2**20
# a boot sector that loads an empty table of interrupts and raises one: a triple fault, and so a reset, for ever
RESET_FOR_EVER = r"\372\061\300\216\330\017\001\036\014\174\314\364\000\000\000\000\000\000"
WATCHED_SECONDS = 12.0
SEEN_SECONDS = 2.0


def seen(portal, name):
    return portal("machines")[name][1:]


def ended(portal, operation):
    rows = portal.settled(BOOTED)
    return next(row[2:4] for row in rows if row[0] == operation)


def test_a_guest_that_panics_is_said_to_have_crashed_and_starts_only_when_asked_F7(portal, running):
    name, _uuid = running
    operations = len(portal("operations"))
    portal("guest", name, "echo 1 > /proc/sys/kernel/sysrq; sleep 0.2; echo c > /proc/sysrq-trigger")
    portal.wait(lambda: seen(portal, name)[1] == "crashed", 60, "the panic was seen")
    assert seen(portal, name) == ["stopped", "crashed", "panicked"]
    portal.settled()
    assert len(portal("operations")) == operations  # nobody restarts it
    assert ended(portal, portal("ask", "start", name)) == ["succeeded", ""]
    assert seen(portal, name) == ["running", "running", ""]


def test_a_full_pool_pauses_the_guest_that_fills_it_and_room_lets_it_go_on_F8(portal, host, pool, running):
    name, uuid = running
    before = len(portal("operations"))
    pool.leave(4 * MIB)
    portal("guest", name, "dd if=/dev/urandom of=/root/filler bs=64k count=512 conv=fsync")
    wait_for(lambda: host.virsh("domstate", uuid) == "paused", 90, "QEMU has paused the guest")
    said = "the portal says io_error after libvirt did"
    comes_in_time(lambda: seen(portal, name)[1:] == ["paused", "io_error"], said, SEEN_SECONDS)
    portal.settled()
    assert seen(portal, name) == ["paused", "paused", "io_error"]
    assert len(portal("operations")) == before
    pool.make_room()
    assert ended(portal, portal("ask", "resume", name)) == ["succeeded", ""]
    assert seen(portal, name) == ["running", "running", ""]
    portal.wait(lambda: portal("guest_answers", name), 60, "the guest goes on")
    used = pool.used
    portal.wait(lambda: pool.used > used or pool.used > 30 * MIB, 60, "what it wrote has arrived")


@pytest.mark.parametrize("room", [0, 228 * 1024], ids=["for nothing", "for the disk and half of the seed"])
def test_a_pool_without_room_fails_a_create_and_nothing_is_left_F9(portal, pool, room):
    for name, machine in portal("machines").items():  # so that nobody else fills what is left
        if machine[2] == "running":
            portal("ask", "force_off", name)
    portal.settled()
    portal.wait(lambda: portal("room") > ROOMY - 200 * MIB, 60, "the room has been counted")
    files, usage = portal("files"), portal("usage")
    operation = portal("create", "v-full")
    pool.leave(room)
    try:
        assert ended(portal, operation) == ["failed", "pool_full"]
        there = sorted(path.name for path in pool.path.iterdir())
        portal("ask", "delete", "v-full")
        portal.settled()
    finally:
        pool.make_room()
    assert [name for name in there if name.startswith(".seed-")] == []  # nothing half-written
    assert portal("files") == files
    assert sorted(path.name for path in pool.path.iterdir()) == files
    assert portal("usage") == usage


def test_a_guest_that_resets_for_ever_costs_nobody_else_anything_F7(portal, host, running):
    name, uuid = running
    pids = host.pids("qemu-system", uuid)
    write = f"printf '{RESET_FOR_EVER}' | dd of=/dev/vda bs=18 count=1 conv=notrunc,fsync"
    portal("guest", name, f"echo 1 > /proc/sys/kernel/sysrq; {write}; sleep 0.2; echo b > /proc/sysrq-trigger")
    portal.wait(lambda: not portal("guest_answers", name), 60, "the guest has gone down")
    operations, (_pk, _uuid, version) = len(portal("operations")), portal("vm", name)
    time.sleep(WATCHED_SECONDS)  # it resets some times a second meanwhile
    assert not portal("guest_answers", name)
    assert host.pids("qemu-system", uuid) == pids
    assert len(portal("operations")) == operations
    assert portal("vm", name)[2] - version <= 2  # resets are no news
    assert seen(portal, name)[:2] == ["running", "running"]
    assert ended(portal, portal("ask", "force_off", name)) == ["succeeded", ""]
    assert ended(portal, portal("ask", "delete", name)) == ["succeeded", ""]
    assert host.pids("qemu-system", uuid) == []
