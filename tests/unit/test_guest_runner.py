"""The guests' runner, the real program on this host, under the host's plain client; and bytes that no host sends."""

import os
import random
import signal
import socket
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import pytest

from hypervisor import run_wire as wire
from hypervisor.errors import AgentUnavailable
from hypervisor.run_wire import Order
from tests.runner_client import is_there, run_command

DEADLINE = 20.0
SESSION = uuid4()


def sh(guest, script, *words, timeout=DEADLINE, stdin=b"", **order):
    wanted = Order(["/bin/sh", "-c", script, "sh", *words], **order)
    return run_command(guest.path, SESSION, wanted, stdin=stdin, timeout_seconds=timeout)


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
