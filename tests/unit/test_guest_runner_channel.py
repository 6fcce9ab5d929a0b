"""The guests' runner, frame for frame: several runs at once, hosts that come and go, bytes that no host sends."""

import random
import signal
import time
from pathlib import Path
from uuid import uuid4

import pytest

from hypervisor import run_wire as wire
from hypervisor.run_wire import Order
from tests.guest_programs import RunnerProcess
from tests.runner_client import run_command
from tests.runner_host import DEADLINE, SESSION, Host, begin


@pytest.fixture
def connect():
    """Return a function that connects a host; all of them leave at the end."""
    hosts = []

    def make(guest, session=SESSION):
        hosts.append(Host(guest.path, session))
        return hosts[-1]

    yield make
    for host in hosts:
        host.leave()


# --- several at once --------------------------------------------------------------------------------------------
def test_a_flood_starves_nobody_and_memory_stays_bounded(guest, connect):
    host = connect(guest)
    floods = [begin(host, "yes") for _ in range(4)]
    before = guest.resident_bytes()
    quiet = [begin(host, "sh", "-c", "echo hello; exit 3") for _ in range(8)]
    taken = dict.fromkeys(floods, 0)
    ended, seen = set(), {}
    until = time.monotonic() + DEADLINE
    while len(ended) < len(quiet) or min(taken.values()) < 10 * wire.WINDOW_BYTES:
        assert time.monotonic() < until
        event = host.wait((wire.Output, wire.Exited))
        if isinstance(event, wire.Exited):
            assert event.code == 3
            ended.add(event.run)
        elif event.run in taken:
            assert event.offset == taken[event.run]
            taken[event.run] += len(event.data)
            host.say(wire.taken(event.run, taken[event.run], 0))
        else:
            seen[event.run] = event.data
    assert ended == set(quiet)
    assert set(seen.values()) == {b"hello\n"}
    assert guest.resident_bytes() - before < 32 * 2**20
    host.leave()


def test_a_stream_that_is_not_taken_stops_at_its_window(guest, connect):
    host = connect(guest)
    run = begin(host, "yes")
    assert isinstance(host.wait(wire.State), wire.State)
    got = sum(len(event.data) for event in host.arrived(0.5))
    assert got == wire.WINDOW_BYTES
    other = begin(host, "echo", "still here")
    assert host.wait(wire.Output, other).data == b"still here\n"
    host.say(wire.kill(run, signal.SIGKILL))
    host.say(wire.taken(run, wire.WINDOW_BYTES, 0))
    while isinstance(event := host.wait((wire.Output, wire.Exited), run), wire.Output):
        host.say(wire.taken(run, event.offset + len(event.data), 0))
    assert event.signal == signal.SIGKILL
    host.leave()


def test_so_many_and_no_more(guest, connect):
    host = connect(guest)
    runs = [begin(host, "sleep", "100") for _ in range(wire.RUNS)]
    for run in runs:
        host.wait(wire.State, run)
    one_more = uuid4()
    host.say(wire.begin(one_more, Order(["true"])))
    assert "too many" in host.wait(wire.Refused, one_more).reason
    host.say(wire.forget(runs[0]))
    assert isinstance(host.wait(wire.Exited, begin(host, "true")), wire.Exited)
    host.say(*(wire.forget(run) for run in runs))
    host.leave()


# --- hosts that come and go -------------------------------------------------------------------------------------
def test_a_run_outlives_its_host_and_nothing_of_it_is_lost(guest, connect):
    script = 'for n in 1 2 3; do read line; echo "$n $line"; done; echo end >&2; exit 5'
    first = connect(guest)
    run = begin(first, "sh", "-c", script, stdin=b"one\n", last=False)
    assert first.wait(wire.Output, run).data == b"1 one\n"
    first.leave()

    second = connect(guest)
    assert second.hello.runs == (run,)
    second.say(wire.attach(run, 0, 0))
    assert second.wait(wire.State, run).input_offset == 4
    again = second.wait(wire.Output, run)
    assert (again.offset, again.data) == (0, b"1 one\n"), "it was not taken, so it comes again"
    second.say(wire.taken(run, 6, 0))
    second.say(wire.stdin(run, 4, b"two\nthree\n", last=True))
    assert second.wait(wire.Exited, run).code == 5
    second.leave()

    third = connect(guest)
    third.say(wire.attach(run, 6, 0))
    ended = third.wait(wire.Exited, run)
    said = [event for event in third.events_before if isinstance(event, wire.Output)]
    assert b"".join(event.data for event in said if event.stream == 0) == b"2 two\n3 three\n"
    assert b"".join(event.data for event in said if event.stream == 1) == b"end\n"
    assert (ended.code, ended.stdout_bytes, ended.stderr_bytes) == (5, 20, 4)
    third.say(wire.forget(run))
    third.leave()
    assert connect(guest).hello.runs == ()


def test_a_new_session_ends_what_the_template_ran(guest, connect):
    first = connect(guest, uuid4())
    begin(first, "sleep", "100")
    first.wait(wire.State)
    sleeping = _children(guest)
    first.leave()
    assert connect(guest, uuid4()).hello.runs == ()
    until = time.monotonic() + DEADLINE
    while _children(guest) == sleeping:
        assert time.monotonic() < until
        time.sleep(0.01)


def _children(guest: RunnerProcess):
    return Path(f"/proc/{guest.pid}/task/{guest.pid}/children").read_text().split()


@pytest.mark.parametrize("cut", [1, 3, 10, wire.HEADER.size, wire.HEADER.size + 9, 5000])
def test_a_frame_that_was_left_half_sent_spoils_nothing(guest, connect, cut):
    """The runner may never notice that one host went and another came: the bytes are then in one stream."""
    host = connect(guest)
    run = begin(host, "cat", last=False)
    host.wait(wire.State, run)
    host.say(wire.stdin(run, 0, b"x" * 8000)[:cut])
    assert host.greet().runs == (run,)
    host.say(wire.attach(run, 0, 0))
    assert host.wait(wire.State, run).input_offset == 0, "the half frame was not taken for input"
    host.say(wire.stdin(run, 0, b"whole", last=True))
    assert host.wait(wire.Output, run).data == b"whole"
    assert host.wait(wire.Exited, run).code == 0


def test_bytes_that_are_no_protocol_do_no_harm(guest, connect):
    """The checks that it is compiled with end it at the first wrong access; `guest` sees that at its end."""
    luck = random.Random(20)
    run = uuid4()
    kinds = b"HSBIATKFP\x00GXz"
    for _ in range(60):
        host = connect(guest, uuid4())
        for _ in range(40):
            kind = luck.choice(kinds)
            payload = luck.randbytes(luck.choice((0, 1, 8, 9, 16, 47, 48, 200)))
            data = bytearray(wire.frame(bytes([kind]), luck.choice((run, uuid4())), payload, luck.randrange(4)))
            if luck.random() < 0.2:
                data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)
            host.say(bytes(data))
        host.say(luck.randbytes(luck.randrange(3000)))
        host.leave()
    assert run_command(guest.path, SESSION, Order(["echo", "alive"])).stdout == b"alive\n"


def test_offsets_that_lie_are_not_believed(guest, connect):
    host = connect(guest)
    run = begin(host, "sh", "-c", "echo hello; cat", last=False)
    host.wait(wire.Output, run)
    far = 2**63
    host.say(
        wire.frame(b"A", run, far.to_bytes(8, "little") * 2),
        wire.frame(b"I", run, far.to_bytes(8, "little") + b"x"),
        wire.stdin(run, 3, b"not yet"),
        wire.stdin(run, 0, b"x" * 70_000),  # more than the window: what does not fit is not taken
    )
    host.say(wire.kill(run, signal.SIGKILL))
    ended = host.wait(wire.Exited, run)
    assert ended.stdout_bytes <= 6 + wire.WINDOW_BYTES
    host.leave()
