"""The guests' runner, the real program on this host, under the host's plain client; and bytes that no host sends."""

import os
import random
import select
import signal
import socket
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import pytest

from hypervisor import run_wire as wire
from hypervisor.errors import AgentUnavailable
from hypervisor.guest_runner import is_there, run_command
from hypervisor.run_wire import Order
from tests.guest_programs import RunnerProcess, compiled, runner

DEADLINE = 20.0
SESSION = uuid4()


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    return compiled(tmp_path_factory.getbasetemp())


@pytest.fixture
def guest(program):
    with tempfile.TemporaryDirectory(prefix="sw-") as short, runner(program, Path(short) / "run") as process:
        yield process


def sh(guest, script, *words, timeout=DEADLINE, stdin=b"", **order):
    wanted = Order(["/bin/sh", "-c", script, "sh", *words], **order)
    return run_command(guest.path, SESSION, wanted, stdin=stdin, timeout_seconds=timeout)


@pytest.fixture(autouse=True)
def _let_go():
    yield
    while connected:
        connected.pop().leave()


connected = []


class Host:
    """A connection that says what a test wants, byte for byte."""

    def __init__(self, guest, session=SESSION, *, greet=True):
        self.nonce = wire.new_nonce()
        self.decoder = wire.Decoder(self.nonce)
        self.events = []
        self.socket = socket.socket(socket.AF_UNIX)
        connected.append(self)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(str(guest.path))
        if greet:
            self.say(wire.hello(session, self.nonce))
            self.hello = self.wait(wire.Hello)

    def say(self, *frames):
        for data in frames:
            self.socket.sendall(data)

    def wait(self, kind, run=None):
        """Return the first such event; what came before it is in `events_before`."""
        self.events_before = []
        while True:
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, kind) and run in {None, getattr(event, "run", None)}:
                    return event
                self.events_before.append(event)
            data = self.socket.recv(65536)
            assert data, "the runner has hung up"
            self.events += self.decoder.feed(data)

    def arrived(self, seconds):
        """What comes within some time, without the rest waiting for it."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self.socket], [], [], left)[0]:
                self.events += self.decoder.feed(self.socket.recv(65536))
        found, self.events = self.events, []
        return found

    def leave(self):
        self.socket.close()


def begin(host, *argv, stdin=b"", last=True):
    run = uuid4()
    host.say(wire.begin(run, Order(argv)))
    if stdin or last:
        host.say(wire.stdin(run, 0, stdin, last=last))
    return run


# --- what a command gets and what it says -----------------------------------------------------------------------
def test_output_exit_code_environment_folder_and_stdin(guest):
    done = sh(guest, 'pwd; echo "$GREETING|$1|$HOME"; cat >&2; exit 7', "a b", cwd="/tmp",
              env={"GREETING": "hello = \u00e9\n"}, stdin=b"typed")  # fmt: skip
    home = Path("~root").expanduser()
    assert (done.code, done.signal, done.timed_out) == (7, None, False)
    assert done.stdout.decode() == f"/tmp\nhello = \u00e9\n|a b|{home}\n"
    assert done.stderr == b"typed"


def test_a_signal_is_no_exit_code(guest):
    done = sh(guest, "kill -TERM $$")
    assert (done.code, done.signal) == (None, signal.SIGTERM)


def test_what_cannot_be_run_ends_as_in_a_shell(guest):
    for order, code, what in (
        (Order(["no-such-command"]), 127, b"no-such-command: No such file"),
        (Order(["/etc/passwd"]), 126, b"Permission denied"),
        (Order(["true"], cwd="/no/such/folder"), 126, b"/no/such/folder"),
    ):
        done = run_command(guest.path, SESSION, order)
        assert done.code == code
        assert what in done.stderr


def test_a_user_that_is_not_there_is_refused_and_another_is_taken(guest):
    with pytest.raises(AgentUnavailable, match="no such user"):
        run_command(guest.path, SESSION, Order(["true"], user="nobody-of-that-name"))
    done = run_command(guest.path, SESSION, Order(["id", "-un"], user="nobody"))
    assert done.stdout == b"nobody\n"


def test_it_takes_no_signal_mask_no_descriptor_and_no_group_with_it(guest):
    done = sh(guest, "ls /proc/self/fd | wc -l; grep -E 'Sig(Blk|Ign)' /proc/self/status; ps -o pgid= -p $$; echo $$")
    fds, blocked, ignored, group, own = done.stdout.decode().split("\n")[:5]
    assert int(fds) == 4, "three and the listing's own"
    assert int(blocked.split()[1], 16) == int(ignored.split()[1], 16) == 0
    assert group.strip() == own


def test_time_that_is_over_kills_the_whole_group(guest):
    started = time.monotonic()
    done = sh(guest, "echo $$; sleep 100 & sleep 100", timeout=0.5)
    assert done.timed_out
    assert done.code is None
    assert time.monotonic() - started < 5
    group = int(done.stdout)
    until = time.monotonic() + DEADLINE
    while any(_group_of(path) == group for path in Path("/proc").glob("[0-9]*/stat")):
        assert time.monotonic() < until
        time.sleep(0.01)


def _group_of(path):
    try:
        state, _parent, group = path.read_text().rsplit(")", 1)[1].split()[:3]
    except OSError:
        return None
    return None if state == "Z" else int(group)  # the dead have none any more


def test_what_stays_in_the_background_holds_nothing_up(guest):
    started = time.monotonic()
    done = sh(guest, "sleep 100 & echo $!; echo started")
    assert done.code == 0
    assert done.stdout.endswith(b"started\n")
    assert time.monotonic() - started < 5
    os.kill(int(done.stdout.split()[0]), signal.SIGKILL)


def test_ten_megabytes_in_and_out_are_the_same(guest):
    data = random.Random(1).randbytes(10_000_000)
    done = sh(guest, "tee /dev/stderr | md5sum", stdin=data)
    import hashlib

    assert done.stdout.split()[0].decode() == hashlib.md5(data).hexdigest()
    assert done.output[1].total == len(data)
    assert data.endswith(done.stderr)


def test_stdin_that_nobody_reads_is_let_go(guest):
    done = sh(guest, "exec true", stdin=bytes(1_000_000))
    assert done.code == 0


def test_an_order_that_is_none(guest):
    for order in (Order([]), Order([""]), Order(["a\0b"]), Order(["a"], {"x=": "1"}), Order(["a"], {"": "1"}),
                  Order(["a"] * 40_000)):  # fmt: skip
        with pytest.raises(wire.BadOrder):
            run_command(guest.path, SESSION, order)
    assert is_there(guest.path, SESSION)


# --- several at once --------------------------------------------------------------------------------------------
def test_a_flood_starves_nobody_and_memory_stays_bounded(guest):
    host = Host(guest)
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


def test_a_stream_that_is_not_taken_stops_at_its_window(guest):
    host = Host(guest)
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


def test_so_many_and_no_more(guest):
    host = Host(guest)
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
def test_a_run_outlives_its_host_and_nothing_of_it_is_lost(guest):
    script = 'for n in 1 2 3; do read line; echo "$n $line"; done; echo end >&2; exit 5'
    first = Host(guest)
    run = begin(first, "sh", "-c", script, stdin=b"one\n", last=False)
    assert first.wait(wire.Output, run).data == b"1 one\n"
    first.leave()

    second = Host(guest)
    assert second.hello.runs == (run,)
    second.say(wire.attach(run, 0, 0))
    assert second.wait(wire.State, run).input_offset == 4
    again = second.wait(wire.Output, run)
    assert (again.offset, again.data) == (0, b"1 one\n"), "it was not taken, so it comes again"
    second.say(wire.taken(run, 6, 0))
    second.say(wire.stdin(run, 4, b"two\nthree\n", last=True))
    assert second.wait(wire.Exited, run).code == 5
    second.leave()

    third = Host(guest)
    third.say(wire.attach(run, 6, 0))
    ended = third.wait(wire.Exited, run)
    said = [event for event in third.events_before if isinstance(event, wire.Output)]
    assert b"".join(event.data for event in said if event.stream == 0) == b"2 two\n3 three\n"
    assert b"".join(event.data for event in said if event.stream == 1) == b"end\n"
    assert (ended.code, ended.stdout_bytes, ended.stderr_bytes) == (5, 20, 4)
    third.say(wire.forget(run))
    third.leave()
    assert Host(guest).hello.runs == ()


def test_a_new_session_ends_what_the_template_ran(guest):
    first = Host(guest, uuid4())
    begin(first, "sleep", "100")
    first.wait(wire.State)
    sleeping = _children(guest)
    first.leave()
    assert Host(guest, uuid4()).hello.runs == ()
    until = time.monotonic() + DEADLINE
    while _children(guest) == sleeping:
        assert time.monotonic() < until
        time.sleep(0.01)


def _children(guest: RunnerProcess):
    return Path(f"/proc/{guest.pid}/task/{guest.pid}/children").read_text().split()


@pytest.mark.parametrize("cut", [1, 3, 10, wire.HEADER.size, wire.HEADER.size + 9, 5000])
def test_a_frame_that_was_left_half_sent_spoils_nothing(guest, cut):
    """The runner may never notice that one host went and another came: the bytes are then in one stream."""
    host = Host(guest)
    run = begin(host, "cat", last=False)
    host.wait(wire.State, run)
    host.say(wire.stdin(run, 0, b"x" * 8000)[:cut])
    host.nonce = wire.new_nonce()
    host.decoder = wire.Decoder(host.nonce)
    host.say(wire.hello(SESSION, host.nonce))
    assert host.wait(wire.Hello).runs == (run,)
    host.say(wire.attach(run, 0, 0))
    assert host.wait(wire.State, run).input_offset == 0, "the half frame was not taken for input"
    host.say(wire.stdin(run, 0, b"whole", last=True))
    assert host.wait(wire.Output, run).data == b"whole"
    assert host.wait(wire.Exited, run).code == 0


def test_bytes_that_are_no_protocol_do_no_harm(guest):
    """The checks that it is compiled with end it at the first wrong access; `guest` sees that at its end."""
    luck = random.Random(20)
    run = uuid4()
    kinds = b"HSBIATKFP\x00GXz"
    for _ in range(60):
        host = Host(guest, uuid4())
        for _ in range(40):
            kind = luck.choice(kinds)
            payload = luck.randbytes(luck.choice((0, 1, 8, 9, 16, 47, 48, 200)))
            data = bytearray(wire.frame(bytes([kind]), luck.choice((run, uuid4())), payload, luck.randrange(4)))
            if luck.random() < 0.2:
                data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)
            host.say(bytes(data))
        host.say(luck.randbytes(luck.randrange(3000)))
        host.leave()
    assert sh(guest, "echo alive").stdout == b"alive\n"


def test_offsets_that_lie_are_not_believed(guest):
    host = Host(guest)
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


# --- a runner that lies -----------------------------------------------------------------------------------------
@pytest.fixture
def liar():
    """A socket on which a test plays the guest."""
    with tempfile.TemporaryDirectory(prefix="sw-") as short, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{short}/run")
        listening.listen()
        listening.settimeout(DEADLINE)
        yield Path(short) / "run", listening


def test_nobody_there_and_somebody_silent(liar, tmp_path):
    path, _listening = liar
    with pytest.raises(AgentUnavailable):
        run_command(tmp_path / "absent", SESSION, Order(["true"]))
    started = time.monotonic()
    assert not is_there(path, SESSION, 0.3)
    assert 0.2 < time.monotonic() - started < 5
