"""The bytes between the host and `slipway-runner` in a guest (guests/runner/wire.h): frames, orders, answers.

No I/O. Every byte of the guest is hostile: lengths, offsets and types are checked here, and what is wrong is a
`ProtocolError`, after which the connection is of no use. Times and sizes have their limits where the bytes are read.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

HEADER = struct.Struct("<BBH16sI")
SUMMED = HEADER.size - 4
MAGIC = b"slipway runner 1"
TO_GUEST_BYTES = 8192  # of a frame's payload, both as in wire.h
FROM_GUEST_BYTES = 16384
WINDOW_BYTES = 65536  # of each stream that may be on the way
ORDER_BYTES = 65536
RUNS = 64  # at once
NOBODY = UUID(int=0)
_OFFSET = struct.Struct("<Q")
_EXIT = struct.Struct("<iIQQQQQ")
_LARGEST_OFFSET = 2**62
_HELLO_ANSWER_BYTES = 32 + 16 * RUNS


class ProtocolError(Exception):
    """The guest's runner said what it may not say."""


class BadOrder(Exception):
    """This cannot be run: a zero byte, no command, or too long; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. Without `user` the guest takes `slipway` where there is one, else root; without `cwd` its home."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Hello:
    """The runner is there; `runs` are those that it holds."""

    runs: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class State:
    """A run has begun, or is attached. `input_offset`: how much of its stdin has arrived."""

    run: UUID
    input_offset: int


@dataclass(frozen=True, slots=True)
class Refused:
    run: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class Output:
    """`stream` is 0 for stdout and 1 for stderr."""

    run: UUID
    stream: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much of a run's stdin has been passed on: WINDOW_BYTES may be on the way."""

    run: UUID
    offset: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The end of a run, after all of its output. One of `code` and `signal` is None."""

    run: UUID
    code: int | None
    signal: int | None
    stdout_bytes: int
    stderr_bytes: int
    cpu_seconds: float
    memory_kib: int


@dataclass(frozen=True, slots=True)
class Pong:
    data: bytes


Event = Hello | State | Refused | Output | Wanted | Exited | Pong


def frame(kind: bytes, run: UUID = NOBODY, payload: bytes = b"", flags: int = 0) -> bytes:
    summed = HEADER.pack(kind[0], flags, len(payload), run.bytes, 0)[:SUMMED]
    return summed + zlib.adler32(payload, zlib.adler32(summed)).to_bytes(4, "little") + payload


def new_nonce() -> bytes:
    return os.urandom(16)


def hello(session: UUID, nonce: bytes) -> bytes:
    """Return the first bytes of a connection; the padding ends what another host may have left half sent."""
    return bytes(HEADER.size + TO_GUEST_BYTES) + frame(b"H", NOBODY, MAGIC + session.bytes + nonce)


def begin(run: UUID, order: Order) -> bytes:
    """Return the frames that start a run; BadOrder."""
    if not order.argv or not order.argv[0]:
        raise BadOrder("There is no command.")
    if any("=" in name or not name for name in order.env):
        raise BadOrder("The name of a variable is empty or has a =.")
    words = [f"arg={word}" for word in order.argv]
    words += [f"env={name}={value}" for name, value in order.env.items()]
    words += [f"cwd={order.cwd}"] if order.cwd else []
    words += [f"user={order.user}"] if order.user else []
    if any("\0" in word for word in words):
        raise BadOrder("A command cannot have a zero byte.")
    spec = b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
    if len(spec) > ORDER_BYTES:
        raise BadOrder(f"The command and its variables are longer than {ORDER_BYTES // 1024} KiB.")
    pieces = [spec[at : at + TO_GUEST_BYTES] for at in range(0, len(spec), TO_GUEST_BYTES)]
    return b"".join(frame(b"S", run, piece) for piece in pieces) + frame(b"B", run)


def stdin(run: UUID, offset: int, data: bytes, *, last: bool = False) -> bytes:
    """Return frames with this much of a run's stdin."""
    room = TO_GUEST_BYTES - _OFFSET.size
    pieces = [data[at : at + room] for at in range(0, len(data), room)] or [b""]
    out = []
    for number, piece in enumerate(pieces, 1):
        out.append(frame(b"I", run, _OFFSET.pack(offset) + piece, int(last and number == len(pieces))))
        offset += len(piece)
    return b"".join(out)


def taken(run: UUID, stdout: int, stderr: int) -> bytes:
    """Say that everything before these offsets has been dealt with."""
    return frame(b"A", run, _OFFSET.pack(stdout) + _OFFSET.pack(stderr))


def attach(run: UUID, stdout: int, stderr: int) -> bytes:
    """Ask for everything from these offsets on, of a run that was begun over an earlier connection."""
    return frame(b"T", run, _OFFSET.pack(stdout) + _OFFSET.pack(stderr))


def kill(run: UUID, signal: int) -> bytes:
    return frame(b"K", run, bytes([signal]))


def forget(run: UUID) -> bytes:
    """Kill it if it still runs; the guest keeps nothing of it, and answers nothing."""
    return frame(b"F", run)


def ping(data: bytes) -> bytes:
    return frame(b"P", NOBODY, data)


class Decoder:
    """What the guest sends, as events. Until it has answered this connection's hello, everything else is skipped."""

    def __init__(self, nonce: bytes) -> None:
        self._nonce = nonce
        self._bytes = bytearray()
        self.frames = 0  # so many were read
        self.greeted = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what has become complete; ProtocolError."""
        self._bytes += data
        if not self.greeted:
            found = self._find_hello()
            if found is None:
                return
            yield found
        while (event := self._next()) is not None:
            yield event

    def _find_hello(self) -> Hello | None:
        """Look for the answer, wherever it begins: before it there may be the end of what was said to another host."""
        mark = MAGIC + self._nonce
        at = self._bytes.find(mark) - HEADER.size
        if at < 0:
            del self._bytes[: -(HEADER.size + len(mark))]
            return None
        del self._bytes[:at]
        taken = self._take()
        if taken is None:
            return None
        kind, _flags, _run, payload = taken
        if kind != ord("H"):
            raise ProtocolError("a greeting in another frame")
        self.greeted = True
        listed = payload[len(mark) :]
        if len(payload) > _HELLO_ANSWER_BYTES or len(listed) % 16:
            raise ProtocolError("a greeting of another length")
        return Hello(tuple(UUID(bytes=listed[at : at + 16]) for at in range(0, len(listed), 16)))

    def _take(self) -> tuple[int, int, UUID, bytes] | None:
        if len(self._bytes) < HEADER.size:
            return None
        kind, flags, length, run, total = HEADER.unpack_from(self._bytes)
        if length > FROM_GUEST_BYTES:
            raise ProtocolError(f"a frame of {length} bytes")
        end = HEADER.size + length
        if len(self._bytes) < end:
            return None
        self.frames += 1
        payload = bytes(self._bytes[HEADER.size : end])
        if zlib.adler32(payload, zlib.adler32(bytes(self._bytes[:SUMMED]))) != total:
            raise ProtocolError("a wrong checksum")
        del self._bytes[:end]
        return kind, flags, UUID(bytes=run), payload

    def _next(self) -> Event | None:
        taken = self._take()
        while taken is not None and taken[0] == ord("H") and taken[3].startswith(MAGIC + self._nonce):
            taken = self._take()  # the answer to a hello that was said twice
        if taken is None:
            return None
        kind, flags, run, payload = taken
        try:
            return _EVENTS[kind](run, flags, payload)
        except (KeyError, struct.error, ValueError):
            raise ProtocolError(f"a frame of type {kind} with {len(payload)} bytes") from None


def _offset(payload: bytes) -> int:
    offset: int = _OFFSET.unpack(payload)[0]
    if offset > _LARGEST_OFFSET:
        raise ValueError
    return offset


def _output(run: UUID, flags: int, payload: bytes) -> Output:
    if flags not in {1, 2} or len(payload) <= _OFFSET.size:
        raise ValueError
    return Output(run, flags - 1, _offset(payload[: _OFFSET.size]), payload[_OFFSET.size :])


def _refused(run: UUID, _flags: int, payload: bytes) -> Refused:
    text = payload[:200].decode("ascii", "replace")
    return Refused(run, "".join(letter if letter.isprintable() else "?" for letter in text))


def _exited(run: UUID, _flags: int, payload: bytes) -> Exited:
    code, signal, stdout, stderr, user, system, memory = _EXIT.unpack(payload)
    if max(stdout, stderr, user, system, memory) > _LARGEST_OFFSET:
        raise ValueError
    if not (0 <= code <= 255 if not signal else 1 <= signal <= 64):
        raise ValueError
    return Exited(
        run,
        None if signal else code,
        signal or None,
        stdout,
        stderr,
        (user + system) / 1e6,
        memory,
    )


_EVENTS: dict[int, Callable[[UUID, int, bytes], Event]] = {
    ord("G"): lambda run, _flags, payload: State(run, _offset(payload)),
    ord("N"): _refused,
    ord("O"): _output,
    ord("W"): lambda run, _flags, payload: Wanted(run, _offset(payload)),
    ord("X"): _exited,
    ord("P"): lambda _run, _flags, payload: Pong(payload),
}
