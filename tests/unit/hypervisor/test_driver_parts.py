"""Parts of the libvirt driver that need no libvirtd: words for states and errors, statistics, bounded calls, events."""

import asyncio
import threading
from types import SimpleNamespace
from uuid import UUID, uuid4

import libvirt
import pytest

from hypervisor import errors
from hypervisor.libvirt_driver.bounded import Bounded, TooSlow
from hypervisor.libvirt_driver.retrying import TRIES, insist
from hypervisor.libvirt_driver.stats import facts_from_stats
from hypervisor.libvirt_driver.tags import TagCache
from hypervisor.libvirt_driver.translate import domain_state, translate
from hypervisor.libvirt_events import _Inbox
from hypervisor.specs import DomainEvent, DomainState, OwnerTag

DOMAIN = UUID(int=5)


FILTER_RACE = (
    "internal error: Failed to apply firewall rules /usr/sbin/ebtables --concurrent -A libvirt-J-vnet1 -j ACCEPT: "
    "ebtables v1.8.9 (nf_tables):  RULE_DELETE failed (No such file or directory): rule in chain libvirt-J-vnet1"
)


def failure(code: int, text: str = "", *, number: int = 0, domain: int = libvirt.VIR_FROM_QEMU) -> libvirt.libvirtError:
    error = libvirt.libvirtError("call")
    error.err = (code, domain, text, 2, "", "", "", number, 0)
    return error


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (failure(libvirt.VIR_ERR_NO_DOMAIN), errors.NotFound),
        (failure(libvirt.VIR_ERR_OPERATION_INVALID), errors.WrongState),
        (failure(libvirt.VIR_ERR_XML_INVALID_SCHEMA), errors.BadSpec),
        (failure(libvirt.VIR_ERR_NO_SUPPORT), errors.NotSupported),
        (failure(libvirt.VIR_ERR_OPERATION_TIMEOUT), errors.Unavailable),
        (failure(libvirt.VIR_ERR_SYSTEM_ERROR, domain=libvirt.VIR_FROM_RPC), errors.Unavailable),
        (failure(libvirt.VIR_ERR_SYSTEM_ERROR, number=28), errors.NoSpace),
        (failure(libvirt.VIR_ERR_INTERNAL_ERROR, "cannot set up guest memory"), errors.NoSpace),
        (failure(libvirt.VIR_ERR_INTERNAL_ERROR, "something else"), errors.HypervisorError),
        (failure(libvirt.VIR_ERR_INTERNAL_ERROR, FILTER_RACE), errors.Unavailable),
    ],
)
def test_libvirts_errors_in_our_words(
    raised: libvirt.libvirtError, becomes: type[errors.HypervisorError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(raised), "__str__", lambda self: self.err[2])
    assert type(translate(raised)) is becomes


@pytest.mark.parametrize(
    ("state", "reason", "saved", "seen"),
    [
        (libvirt.VIR_DOMAIN_RUNNING, 1, False, (DomainState.RUNNING, "")),
        (libvirt.VIR_DOMAIN_BLOCKED, 0, False, (DomainState.RUNNING, "")),
        (libvirt.VIR_DOMAIN_SHUTDOWN, 0, False, (DomainState.RUNNING, "shutting_down")),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR, False, (DomainState.PAUSED, "io_error")),
        (libvirt.VIR_DOMAIN_PMSUSPENDED, 0, False, (DomainState.PAUSED, "guest_sleep")),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, False, (DomainState.STOPPED, "crashed")),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SAVED, True, (DomainState.SUSPENDED, "saved")),
        (libvirt.VIR_DOMAIN_SHUTOFF, 0, True, (DomainState.SUSPENDED, "saved")),
        (libvirt.VIR_DOMAIN_RUNNING, 1, True, (DomainState.RUNNING, "")),
        (libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_CRASHED_PANICKED, False, (DomainState.CRASHED, "panicked")),
        (99, 99, False, (DomainState.RUNNING, "")),
    ],
)
def test_libvirts_states_in_our_words(state: int, reason: int, saved: bool, seen: tuple[DomainState, str]) -> None:
    assert domain_state(state, reason, saved=saved) == seen


def test_statistics_become_facts_summed_over_devices() -> None:
    stats = {
        "state.state": 1, "state.reason": 1, "cpu.time": 7, "vcpu.current": 2, "balloon.maximum": 524288,
        "balloon.available": 500_000, "balloon.usable": 91_424, "block.count": 2, "block.0.rd.bytes": 10,
        "block.1.rd.bytes": 5, "block.0.wr.bytes": 3, "net.count": 1, "net.0.rx.bytes": 8, "net.0.tx.bytes": 9,
    }  # fmt: skip
    facts = facts_from_stats("name", DOMAIN, stats, saved=False)
    assert (facts.vcpus, facts.memory_mib, facts.cpu_time_ns, facts.memory_used_mib) == (2, 512, 7, 399)
    assert (facts.disk_read_bytes, facts.disk_written_bytes) == (15, 3)
    assert (facts.net_received_bytes, facts.net_sent_bytes) == (8, 9)


def test_what_statistics_do_not_tell_is_unknown() -> None:
    facts = facts_from_stats("name", DOMAIN, {"state.state": 5, "state.reason": 0}, saved=False)
    assert (facts.state, facts.cpu_time_ns, facts.memory_used_mib, facts.disk_read_bytes) == (
        DomainState.STOPPED, None, None, None,
    )  # fmt: skip


def test_a_bounded_call_returns_raises_or_is_too_slow() -> None:
    bounded, release = Bounded("test", 1), threading.Event()
    assert bounded.call(lambda: 7, 10) == 7

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        bounded.call(fail, 10)
    with pytest.raises(TooSlow):
        bounded.call(release.wait, 0.01)
    with pytest.raises(TooSlow, match="earlier"):
        bounded.call(lambda: 7, 10)
    hanging = [thread for thread in threading.enumerate() if thread.name == "test"]
    release.set()
    for thread in hanging:
        thread.join(10)
    assert bounded.call(lambda: 7, 10) == 7


class Told:
    """A libvirt domain in an event."""

    def __init__(self, uuid: UUID) -> None:
        self.uuid = uuid

    def UUID(self) -> bytes:
        return self.uuid.bytes


async def test_equal_events_that_wait_count_once_F24() -> None:
    inbox = _Inbox(asyncio.get_running_loop())
    for _ in range(1000):
        inbox.on_lifecycle(None, Told(DOMAIN), libvirt.VIR_DOMAIN_EVENT_STARTED, 0, None)
        inbox.on_event(None, Told(DOMAIN), 0, "reboot")
    inbox.on_agent(None, Told(DOMAIN), 1, 0, None)
    inbox.on_lifecycle(None, Told(DOMAIN), 4711, 0, None)
    inbox.on_close(None, 0, None)
    seen = []
    while (event := await inbox.next()) is not None:
        seen.append(event.what)
    assert seen == ["started", "reboot", "agent_connected", "lifecycle"]
    assert await inbox.next() is None


async def test_an_event_after_its_loop_has_ended_is_dropped() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    _Inbox(loop).on_lifecycle(None, Told(DOMAIN), libvirt.VIR_DOMAIN_EVENT_STARTED, 0, None)


async def test_waiting_for_the_next_event_is_woken_from_another_thread() -> None:
    inbox = _Inbox(asyncio.get_running_loop())
    waiting = asyncio.ensure_future(inbox.next())
    await asyncio.to_thread(inbox.on_lifecycle, None, Told(DOMAIN), libvirt.VIR_DOMAIN_EVENT_STOPPED, 0, None)
    assert await asyncio.wait_for(waiting, 10) == DomainEvent(DOMAIN, "stopped")


def test_a_tag_is_remembered_until_an_event_or_another_name() -> None:
    cache, reads = TagCache(SimpleNamespace()), []  # type: ignore[arg-type]
    tag = OwnerTag("0badcafe", uuid4())

    def read() -> OwnerTag:
        reads.append(1)
        return tag

    for _ in range(3):
        assert cache.tag(DOMAIN, "one", read) == tag
    assert len(reads) == 1
    cache.tag(DOMAIN, "renamed", read)
    cache._on_event(None, Told(DOMAIN), 0, None)
    cache.tag(DOMAIN, "renamed", read)
    cache.keep_only(set())
    cache.tag(DOMAIN, "renamed", read)
    assert len(reads) == 4


def test_a_tag_that_changed_while_it_was_read_is_not_remembered() -> None:
    cache, tags = TagCache(SimpleNamespace()), [OwnerTag("old", DOMAIN), OwnerTag("new", DOMAIN)]  # type: ignore[arg-type]

    def read() -> OwnerTag:
        tag = tags.pop(0)
        if tag.installation_id == "old":
            cache._on_event(None, Told(DOMAIN), 0, None)
        return tag

    cache.tag(DOMAIN, "name", read)
    assert cache.tag(DOMAIN, "name", read) == OwnerTag("new", DOMAIN)


@pytest.mark.parametrize(("failures", "succeeds"), [(0, True), (TRIES - 1, True), (TRIES, False)])
def test_a_start_that_met_another_change_of_the_filter_is_made_again(failures: int, succeeds: bool) -> None:
    outcomes: list[Exception] = [libvirt.libvirtError(FILTER_RACE) for _ in range(failures)]

    def start() -> str:
        if outcomes:
            raise outcomes.pop()
        return "started"

    if succeeds:
        assert insist(start) == "started"
    else:
        with pytest.raises(libvirt.libvirtError):
            insist(start)
    assert not outcomes


def test_another_failure_is_not_tried_again() -> None:
    tries = []

    def start() -> None:
        tries.append(1)
        raise libvirt.libvirtError("something else")

    with pytest.raises(libvirt.libvirtError):
        insist(start)
    assert tries == [1]
