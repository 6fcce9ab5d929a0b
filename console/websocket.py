"""The gateway's websocket protocol: uvicorn's, quicker on the way to the client and strict with dead clients.

Used as `uvicorn console.asgi:application --ws console.websocket:ConsoleSocket`; the gateway also runs with
uvicorn's own `websockets-sansio`, without what follows.

- uvicorn closes a connection politely, after all that was written has been taken. A client that takes nothing
  would keep its socket and buffer as long as TCP allows: a quarter of an hour if dead, for ever if stopped.
- It stops and restarts reading around every message, two system calls that a console feels at every key.
- It copies each frame twice on its way out, and hands messages over through a queue: a connection of this class
  is also a `console.relay.Side`, found in the scope's extensions as `slipway.direct`.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_MESSAGE = 1024 * 1024  # bytes, of one message from a client
SEND_BUFFER = 512 * 1024  # bytes that wait for the client before the relay stops reading from the VM
RECEIVE_BUFFER = 256 * 1024  # bytes that wait for the VM before the client is no longer read
DEAD_AFTER_SECONDS = 45  # without an answer from the client's TCP
LINGER_SECONDS = 5  # for the last bytes of a closed console
WORTH_A_COPY = 16 * 1024  # bytes: below, joining header and payload is cheaper than writing two pieces
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # a struct linger: on, no time
DIRECT = "slipway.direct"  # in the scope's extensions: this object
WHOLE_BINARY = 0x82  # first byte of a frame that is a whole binary message (RFC 6455, 5.2)


class ConsoleSocket(WebSocketsSansIOProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn.max_message_size = MAX_MESSAGE
        self._queued = 0
        self._taken = 0  # messages that the client's side has made room for
        self._taken_at_ping = 0
        self._sink: Callable[[bytes], None] | None = None
        self._room: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Until it is spliced, nothing is written before the last message has left: each that waits here costs uvloop
        # half a kilobyte beside its bytes, and a terminal's are a few bytes long.
        self.transport.set_write_buffer_limits(high=0)
        if (tcp := self._tcp_socket()) is not None:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_SECONDS * 1000)

    def send_receive_event_to_app(self) -> None:
        """Queue a message, or hand it over; stop reading only when much waits."""
        if self._sink and not self.close_sent:
            data, self.frames = b"".join(self.frames), []
            self._sink(data)
            return
        self._queued += sum(len(part) for part in self.frames)
        already, self.read_paused = self.read_paused, True  # keeps uvicorn from stopping to read
        super().send_receive_event_to_app()
        self.read_paused = already
        if self._queued > RECEIVE_BUFFER and not already:
            self.read_paused = True
            self.transport.pause_reading()

    async def receive(self) -> Any:
        message: Any = await super().receive()
        self._queued -= len(message.get("bytes") or (message.get("text") or "").encode())
        return message

    async def send(self, message: Any) -> None:
        data = message.get("bytes")
        if data is None or not self.handshake_complete or self.close_sent:
            await super().send(message)
            return
        if not self.writable.is_set():
            await self.writable.wait()
        if self.disconnected:
            raise ClientDisconnected
        self.push(data)

    async def run_asgi(self) -> None:
        self.scope["extensions"][DIRECT] = self  # type: ignore[assignment]
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(LINGER_SECONDS, self._drop)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._room:
            self._room()

    # --- as a side of a relay ---
    def attach(self, sink: Callable[[bytes], None], room: Callable[[], None]) -> None:
        self._sink, self._room = sink, room
        self.transport.set_write_buffer_limits(high=SEND_BUFFER)
        while not self.queue.empty():
            message: Any = self.queue.get_nowait()
            if message["type"] != "websocket.receive":
                self.queue.put_nowait(message)  # the disconnect, which is the last
                break
            sink(message.get("bytes") or (message.get("text") or "").encode())
        self._queued = 0

    def detach(self) -> None:
        self._sink = self._room = None

    def push(self, data: bytes) -> bool:
        if self.close_sent or self.transport.is_closing():
            return True  # nobody is there: let it go by
        if len(data) < WORTH_A_COPY:
            self.transport.write(header(len(data)) + data)
        else:
            self.transport.writelines((header(len(data)), data))
        self._taken += 1
        return self.writable.is_set()

    def hold(self) -> None:
        if not self.read_paused and not self.transport.is_closing():
            self.read_paused = True
            self.transport.pause_reading()

    def release(self) -> None:
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    # --- dead and stuck clients ---
    def send_keepalive_ping(self) -> None:
        self._taken_at_ping = self._taken
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """A ping waits behind what was sent before it: a slow client that still takes data gets more time."""
        if self._taken > self._taken_at_ping and self.ping_timeout is not None:
            self._taken_at_ping = self._taken
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self._drop()

    def _drop(self) -> None:
        """Close at once, and have the kernel forget what it still holds for the client: that can be megabytes."""
        if self.disconnected:
            return
        if (tcp := self._tcp_socket()) is not None:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self.transport.abort()

    def _tcp_socket(self) -> socket.socket | None:
        found: socket.socket | None = self.transport.get_extra_info("socket")
        return found if found is not None and found.family in {socket.AF_INET, socket.AF_INET6} else None


def header(size: int) -> bytes:
    """Return the header of a server's frame that holds a whole binary message of so many bytes."""
    if size < 126:
        return bytes((WHOLE_BINARY, size))
    if size < 65536:
        return struct.pack("!BBH", WHOLE_BINARY, 126, size)
    return struct.pack("!BBQ", WHOLE_BINARY, 127, size)
