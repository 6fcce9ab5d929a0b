"""The byte pump between a websocket and a stream of a VM, with back-pressure both ways. No Django in here.

A websocket is a pair of ASGI callables and a stream is anything with the four methods of `Duplex`. What
arrives while the other side is busy is coalesced, so that a slow reader gets few large messages; when
`HIGH_WATER` bytes wait, the stream is no longer read, and its writer (QEMU) feels it. So a console holds at
most `HIGH_WATER` here and about as much in the server's send buffer, whatever either side does.

Where the server offers it (console/websocket.py) a display is spliced instead: each side hands what it gets to
the other within the callback that brought it. That saves two tasks' wake-ups a key, a sixth of its round trip.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Protocol

from .writing import Writing

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HIGH_WATER = 512 * 1024  # bytes


class Ended(Enum):
    """Why a relay is over."""

    CLIENT = "the client went away"
    STREAM = "the VM's side ended"
    CUT = "somebody cut it"


class Duplex(Protocol):
    """Two-way bytes. `read` returns b"" at the end; `drain` waits until it is right to write more."""

    async def read(self) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...


class Side(Protocol):
    """One of two sides that are spliced."""

    def attach(self, sink: Callable[[bytes], None], room: Callable[[], None]) -> None:
        """Give all that arrives, and has arrived, to `sink`; call `room` when more can be pushed again."""

    def detach(self) -> None: ...
    def push(self, data: bytes) -> bool:
        """Send; False: rather wait for `room` before the next time."""

    def hold(self) -> None:
        """Stop reading."""

    def release(self) -> None:
        """Read again."""


class Stream(Writing):
    """A `Duplex`, and a `Side`, over an asyncio transport. One task reads; any number may write."""

    def __init__(self, high_water: int = HIGH_WATER) -> None:
        super().__init__()
        self._high_water = high_water
        self._chunks: list[bytes] = []
        self._size = 0
        self._reading = True
        self._reader: asyncio.Future[None] | None = None
        self._sink: Callable[[bytes], None] | None = None
        self._room: Callable[[], None] | None = None
        self._over = asyncio.Event()

    # --- called by the transport ---

    def data_received(self, data: bytes) -> None:
        if self._sink:
            self._sink(data)
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size >= self._high_water:
            self.hold()
        self._wake()

    def eof_received(self) -> bool:
        return False  # the transport closes itself: a VM's end has no half-open state worth keeping

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._over.set()
        self._wake()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._room:
            self._room()

    # --- called by the relay ---

    @property
    def waiting(self) -> int:
        """Bytes that have arrived and were not read yet."""
        return self._size

    async def read(self) -> bytes:
        """Return all that has arrived, waiting for the first byte of it; b"" at the end of the stream."""
        if not self._chunks and not self.ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._taken()
        self.release()
        return data

    async def over(self) -> Ended:
        """Wait for the end of the stream."""
        await self._over.wait()
        return Ended.STREAM

    def attach(self, sink: Callable[[bytes], None], room: Callable[[], None]) -> None:
        self._sink, self._room = sink, room
        if self._chunks:
            self.release()
            sink(self._taken())

    def detach(self) -> None:
        self._sink = self._room = None

    def push(self, data: bytes) -> bool:
        self.write(data)
        return self._writable.is_set()

    def hold(self) -> None:
        if self._reading and self._transport and not self.ended:
            self._reading = False
            self._transport.pause_reading()

    def release(self) -> None:
        if not self._reading and self._transport and not self.ended:
            self._reading = True
            self._transport.resume_reading()

    def _taken(self) -> bytes:
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return data

    def _wake(self) -> None:
        if self._reader and not self._reader.done():
            self._reader.set_result(None)


async def relay(
    receive: Receive, send: Send, stream: Duplex, cut: asyncio.Future[int], client: Side | None = None
) -> Ended:
    """Pump until one side ends or `cut` is set. The caller closes both sides.

    The websocket must have been accepted. Whatever is left in the stream when it ends is still delivered.
    `client` is the websocket itself where it can be spliced.
    """
    if cut.done():
        return Ended.CUT
    if client and isinstance(stream, Stream):
        down = asyncio.ensure_future(stream.over())
        splice(client, stream)
    else:
        client = None
        down = asyncio.ensure_future(_down(stream, send))
    up = asyncio.ensure_future(_up(receive, stream))
    try:
        waited: set[asyncio.Future[Any]] = {down, up, cut}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if cut.done():
            return Ended.CUT
        return up.result() if up.done() else down.result()
    finally:
        if client and isinstance(stream, Stream):
            client.detach()
            stream.detach()
        await _stop(down, up)


def splice(one: Side, other: Side) -> None:
    """Hand all that one side gets to the other; neither is read while the other is full."""

    def carry(source: Side, target: Side) -> None:
        def sink(data: bytes) -> None:
            if not target.push(data):
                source.hold()

        source.attach(sink, target.release)

    carry(one, other)
    carry(other, one)


async def _down(stream: Duplex, send: Send) -> Ended:
    try:
        while data := await stream.read():
            await send({"type": "websocket.send", "bytes": data})
    except OSError:  # how ASGI servers say that the client has gone
        return Ended.CLIENT
    return Ended.STREAM


async def _up(receive: Receive, stream: Duplex) -> Ended:
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return Ended.CLIENT
        data = message.get("bytes") or (message.get("text") or "").encode()
        if data:
            stream.write(data)
            await stream.drain()


async def _stop(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task
