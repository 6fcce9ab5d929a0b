"""Commands in sandboxes: begun, followed while they write, ended."""

import base64
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn

from .client import Api, Json
from .faults import Code, Fault
from .showing import plain, say

KILLED = 137
AWAY_SECONDS = 60.0  # for how long a stream that broke off is asked for again
AWAY_PAUSE = 0.5
Sink = Callable[[str, bytes], None]


def to_terminal(stream: str, data: bytes) -> None:
    """Write what a command said where it belongs."""
    out = sys.stdout.buffer if stream == "stdout" else sys.stderr.buffer
    out.write(data)
    out.flush()


@dataclass
class Collected:
    """Output that is kept for later: a `Sink`."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)

    def __call__(self, stream: str, data: bytes) -> None:
        (self.stdout if stream == "stdout" else self.stderr).extend(data)


def follow_run(api: Api, run_id: str, sink: Sink) -> Json:
    """Hand on what a command says, as it says it, and return the run once it has ended."""
    at = {"stdout": 0, "stderr": 0}
    heard = time.monotonic()
    while True:
        try:
            for name, said in _events(api, run_id, at):
                heard = time.monotonic()
                if name == "output":
                    data = base64.b64decode(said["data"])
                    at[said["stream"]] = said["offset"] + len(data)
                    sink(said["stream"], data)
                elif name == "end":
                    return api.get(f"runs/{run_id}")
        except Fault as fault:
            if fault.slug == "too_many_requests":  # it runs all the same, and what it says is kept
                heard = time.monotonic()
            elif fault.code != Code.UNREACHABLE and fault.slug != "unavailable":
                raise
            if time.monotonic() - heard > AWAY_SECONDS:
                raise
        time.sleep(AWAY_PAUSE)


def _events(api: Api, run_id: str, at: dict[str, int]) -> Iterator[tuple[str, Json]]:
    """Yield a run's server-sent events from these offsets on."""
    name, data = "", []
    with api.stream(f"runs/{run_id}/events", **at) as answer:
        for line in answer.iter_lines():
            key, _, value = line.partition(":")
            if key == "event":
                name = value.strip()
            elif key == "data":
                data.append(value.removeprefix(" "))
            elif not line and data:
                yield name, json.loads("\n".join(data))
                name, data = "", []


def exit_code(run: Json) -> int:
    """Return what our own exit code is after this run, and say why where the command did not choose it."""
    status, code = run["status"], run["exit_code"]
    for stream in ("stdout", "stderr"):
        if run[f"{stream}_truncated"]:
            say(f"slipway: {stream} was cut: of {run[f'{stream}_bytes']} bytes only the beginning was kept.")
    if status == "exited":
        return int(code)
    if status == "timed_out":
        say(f"slipway: The command was ended: its time limit is {run['timeout_seconds']} s.")
        return Code.TIME_LIMIT
    if status == "killed":
        say("slipway: The command was killed.")
        return KILLED
    why = plain(run["error"]["detail"]) if run["error"] else "its sandbox went away"
    say(f"slipway: The command did not run to its end: {why}")
    return Code.NOT_RUN


class Stopped(BaseException):
    """A signal asks us to end: `code` is what to exit with."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(number)


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Turn Ctrl-C and its like into Stopped inside the block; what is yielded makes us deaf to them, to clean up."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, _stop) for number in numbers}

    def deaf() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield deaf
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep signals until the block is done: what it asks for must not be lost half-way."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
