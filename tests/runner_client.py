"""One command at a time through a guest's runner, as plainly as it can be done: the tests ask it with this.

done = run_command(socket_path, domain_uuid, Order(["/bin/sh", "-c", script], user="root"), timeout_seconds=600)
"""

import contextlib
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import PurePath
from uuid import UUID, uuid4

from hypervisor import run_wire as wire
from hypervisor.errors import AgentUnavailable

ANSWER_SECONDS = 5.0
KEPT_BYTES = 64 * 1024  # of each stream, its end: this is for scripts that prepare something
_PIECE = 65536


@dataclass(slots=True)
class Tail:
    """The end of what a stream said; `total` counts all of it."""

    kept: bytes = b""
    total: int = 0

    def add(self, data: bytes) -> None:
        self.kept = (self.kept + data)[-KEPT_BYTES:]
        self.total += len(data)


@dataclass(slots=True)
class Finished:
    """How a command ended. `code` is None when a signal ended it, and when it took too long."""

    code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    output: tuple[Tail, Tail] = field(default_factory=lambda: (Tail(), Tail()))

    @property
    def stdout(self) -> bytes:
        return self.output[0].kept

    @property
    def stderr(self) -> bytes:
        return self.output[1].kept


def run_command(
    path: PurePath, session: UUID, order: wire.Order, *, stdin: bytes = b"", timeout_seconds: float = 60.0
) -> Finished:
    """Run a command to its end, or kill it when its time is over.

    `path` is the host's end of the domain's channel, `session` its domain_uuid. AgentUnavailable: nobody answers
    within 5 s, or what answers breaks the protocol; BadOrder.
    """
    with _Connection(path, session) as connection:
        return _Command(connection, order, stdin).run(time.monotonic() + timeout_seconds)


def is_there(path: PurePath, session: UUID, timeout_seconds: float = ANSWER_SECONDS) -> bool:
    """Tell whether a runner answers on this channel within some seconds."""
    try:
        with _Connection(path, session, timeout_seconds):
            return True
    except AgentUnavailable:
        return False


class _Connection:
    """The channel, from the greeting on; also a context manager."""

    def __init__(self, path: PurePath, session: UUID, timeout_seconds: float = ANSWER_SECONDS) -> None:
        nonce = wire.new_nonce()
        self._decoder = wire.Decoder(nonce)
        self._arrived: deque[wire.Event] = deque()
        self._leaving = bytearray(wire.hello(session, nonce))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout_seconds)
            self._socket.connect(str(path))
            self._socket.setblocking(False)
            until = time.monotonic() + timeout_seconds
            for left in self.wait(wire.Hello, until).runs:  # of callers that were killed
                self.send(wire.forget(left))
        except OSError as error:
            self._socket.close()
            raise AgentUnavailable(f"the runner's channel: {error}") from None
        except AgentUnavailable:
            self._socket.close()
            raise

    def __enter__(self) -> "_Connection":
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._leaving += data

    def wait(self, kind: type[wire.Hello], until: float) -> wire.Hello:
        for event in self.events(until):
            if isinstance(event, kind):
                return event
        raise AgentUnavailable("the guest's runner did not answer")

    def events(self, until: float) -> Generator[wire.Event, None, None]:
        """Yield what arrives, and send what waits, until then."""
        while True:
            while self._arrived:
                yield self._arrived.popleft()
            left = until - time.monotonic()
            if left <= 0 and not self._leaving:
                return
            if not self._turn(max(left, 0)) and left <= 0:
                return

    def _turn(self, seconds: float) -> bool:
        writable = [self._socket] if self._leaving else []
        can_read, can_write, _ = select.select([self._socket], writable, [], seconds)
        try:
            if can_write:
                del self._leaving[: self._socket.send(self._leaving[:_PIECE])]
            if can_read:
                data = self._socket.recv(_PIECE)
                if not data:
                    raise AgentUnavailable("the guest's channel was closed")
                self._arrived.extend(self._decoder.feed(data))
        except BlockingIOError:
            pass
        except OSError as error:
            raise AgentUnavailable(f"the runner's channel: {error}") from None
        except wire.ProtocolError as error:
            raise AgentUnavailable(f"the guest's runner sent {error}") from None
        return bool(can_read or can_write)


class _Command:
    """One run over a connection that is its own."""

    def __init__(self, connection: _Connection, order: wire.Order, stdin: bytes) -> None:
        self._connection = connection
        self._run = uuid4()
        self._stdin = stdin
        self._sent = 0
        self._input_ended = False
        self._begun = False
        self._finished = Finished()
        connection.send(wire.begin(self._run, order))
        self._feed(0)

    def run(self, until: float) -> Finished:
        answer_by = time.monotonic() + ANSWER_SECONDS
        if not self._until_exit(answer_by, begun_is_enough=True):
            raise AgentUnavailable("the guest's runner did not start the command")
        if not self._over and not self._until_exit(until):
            self._finished.timed_out = True
            self._connection.send(wire.kill(self._run, signal.SIGKILL))
            self._until_exit(time.monotonic() + ANSWER_SECONDS)
            self._finished.code = self._finished.signal = None
        self._connection.send(wire.forget(self._run))
        for _event in self._connection.events(time.monotonic()):
            pass
        return self._finished

    @property
    def _over(self) -> bool:
        return self._finished.code is not None or self._finished.signal is not None

    def _until_exit(self, until: float, *, begun_is_enough: bool = False) -> bool:
        with contextlib.closing(self._connection.events(until)) as events:
            for event in events:
                if getattr(event, "run", None) == self._run:
                    self._handle(event)
                if self._over or (begun_is_enough and self._begun):
                    return True
        return False

    def _handle(self, event: wire.Event) -> None:
        match event:
            case wire.State():
                self._begun = True
            case wire.Refused(reason=reason):
                raise AgentUnavailable(f"the guest's runner refused: {reason}")
            case wire.Output(stream=stream, offset=offset, data=data):
                tail = self._finished.output[stream]
                if offset != tail.total:
                    raise AgentUnavailable("the guest's runner left something out")
                tail.add(data)
                totals = [one.total for one in self._finished.output]
                self._connection.send(wire.taken(self._run, *totals))
            case wire.Wanted(offset=offset):
                self._feed(offset)
            case wire.Exited(code=code, signal=by):
                self._finished.code, self._finished.signal = code, by

    def _feed(self, passed_on: int) -> None:
        """Send as much of stdin as may be on the way."""
        piece = self._stdin[self._sent : passed_on + wire.WINDOW_BYTES]
        last = self._sent + len(piece) == len(self._stdin)
        if self._input_ended or not (piece or last):
            return
        self._connection.send(wire.stdin(self._run, self._sent, piece, last=last))
        self._sent += len(piece)
        self._input_ended = last
