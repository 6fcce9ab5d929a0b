"""The gateway's websocket protocol in a real server, on a UNIX socket: limits, and clients that are dead or stuck."""

import asyncio
import contextlib
import os
import socket
import struct
import tempfile
from pathlib import Path

import pytest
import uvicorn

from console.relay import Ended, Stream, relay
from console.websocket import DIRECT, MAX_MESSAGE, SEND_BUFFER, ConsoleSocket, header

DEADLINE = 20
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Quiet(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


class Echo:
    """An application that sends back what it gets, or floods, or does not read."""

    def __init__(self, *, flood: bool, reads: bool) -> None:
        self.flood, self.reads = flood, reads
        self.ended = asyncio.Event()

    async def __call__(self, scope, receive, send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while self.flood:
                await send({"type": "websocket.send", "bytes": bytes(65536)})
            if not self.reads:
                await asyncio.Event().wait()
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "bytes": message["bytes"]})
        except OSError:
            pass
        finally:
            self.ended.set()


@pytest.fixture
async def serve():
    """Start servers: `reader, writer, app, server = await serve(ping=0.2, flood=True)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*, ping: float | None = None, flood: bool = False, reads: bool = True, app=None):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sw-"))
            app, path = app or Echo(flood=flood, reads=reads), str(Path(folder) / "s")
            config = uvicorn.Config(
                app, uds=path, ws=ConsoleSocket, lifespan="off", log_config=None, ws_ping_interval=ping,
                ws_ping_timeout=ping, timeout_graceful_shutdown=1, ws_per_message_deflate=False,
            )  # fmt: skip
            server = Quiet(config)
            task = asyncio.ensure_future(server.serve())
            async with asyncio.timeout(DEADLINE):
                while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                    await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_unix_connection(path, limit=2**22)
            stack.push_async_callback(stop, server, task, writer)
            writer.write(HANDSHAKE)
            assert b" 101 " in (await reader.readuntil(b"\r\n\r\n"))
            return reader, writer, app, server

        yield start


async def stop(server, task, writer) -> None:
    writer.close()
    server.should_exit = True
    await asyncio.wait_for(task, DEADLINE)


def frame(data: bytes, opcode: int = 2) -> bytes:
    """Return a client's frame; its mask is zero."""
    if len(data) < 126:
        return struct.pack("!BB", 0x80 | opcode, 0x80 | len(data)) + bytes(4) + data
    return struct.pack("!BBQ", 0x80 | opcode, 0xFF, len(data)) + bytes(4) + data


async def read_frame(reader) -> tuple[int, bytes]:
    async with asyncio.timeout(DEADLINE):
        head, size = await reader.readexactly(2)
        if size == 126:
            size = struct.unpack("!H", await reader.readexactly(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", await reader.readexactly(8))[0]
        return head & 0x0F, await reader.readexactly(size)


async def test_messages_of_every_length_come_back_as_they_were(serve):
    reader, writer, _app, _server = await serve()
    for size in (1, 125, 126, 65535, 65536, MAX_MESSAGE):
        data = os.urandom(size)
        writer.write(frame(data))
        assert await read_frame(reader) == (2, data), size


@pytest.mark.parametrize(("size", "length"), [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_headers_have_the_shortest_form(size, length):
    assert len(header(size)) == length


async def test_a_message_that_is_too_large_ends_the_connection_A18(serve):
    reader, writer, app, _server = await serve()
    writer.write(frame(bytes(MAX_MESSAGE + 1)))
    opcode, reason = await read_frame(reader)
    assert (opcode, struct.unpack("!H", reason[:2])[0]) == (8, 1009)
    await asyncio.wait_for(app.ended.wait(), DEADLINE)


async def test_a_client_is_not_read_while_the_application_does_not_read(serve):
    _reader, writer, _app, server = await serve(reads=False)
    writer.transport.set_write_buffer_limits(high=65536)
    sent = 0
    while True:
        writer.write(frame(bytes(65536)))
        sent += 65536
        assert sent < 2**23, "there is no back-pressure"
        try:
            await asyncio.wait_for(writer.drain(), 0.2)
        except TimeoutError:
            break
    (connection,) = server.server_state.connections
    assert 0 < connection._queued <= 2**19 + 65536, "what waits here is bounded"


async def test_a_client_that_answers_pings_stays(serve):
    reader, writer, app, _server = await serve(ping=0.1)
    for _ping in range(5):
        opcode, payload = await read_frame(reader)
        assert opcode == 9
        writer.write(frame(payload, opcode=10))
    writer.write(frame(b"here"))
    assert await read_frame(reader) == (2, b"here")
    assert not app.ended.is_set()


async def test_a_client_that_is_gone_is_dropped_F23(serve):
    _reader, _writer, app, server = await serve(ping=0.1)
    await asyncio.wait_for(app.ended.wait(), DEADLINE)
    await gone(server)


async def test_a_client_that_takes_nothing_is_dropped_with_what_waits_for_it_F23(serve):
    reader, _writer, app, server = await serve(ping=0.3, flood=True)
    reader._transport.pause_reading()  # a browser that hangs: its socket is open and nobody reads
    await asyncio.wait_for(app.ended.wait(), DEADLINE)
    await gone(server)


async def test_a_slow_client_that_still_takes_data_stays(serve):
    reader, _writer, app, server = await serve(ping=1000, flood=True)
    (connection,) = server.server_state.connections
    for _ping in range(3):  # answers none of them, but reads
        connection.send_keepalive_ping()
        taken = connection._taken
        while connection._taken == taken:
            await asyncio.wait_for(reader.read(2**16), DEADLINE)
        connection.keepalive_timeout()
        assert not connection.transport.is_closing()
    assert not app.ended.is_set()
    connection.keepalive_timeout()  # and then nothing in a whole period
    await asyncio.wait_for(app.ended.wait(), DEADLINE)


async def gone(server) -> None:
    async with asyncio.timeout(DEADLINE):
        while server.server_state.connections:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)


async def test_a_restart_tells_clients_to_come_back_F14(serve):
    reader, _writer, _app, server = await serve()
    server.should_exit = True
    opcode, reason = await read_frame(reader)
    assert (opcode, struct.unpack("!H", reason[:2])[0]) == (8, 1012)


# --- spliced with a stream: the real thing at both ends ---------------------------------------------------------
class Console:
    """An application that relays to a socket pair; `end` is the VM's side."""

    def __init__(self) -> None:
        ours, self.end = socket.socketpair()
        self.end.setblocking(False)
        self._ours = ours
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self.begin = asyncio.Event()
        self.begin.set()

    async def __call__(self, scope, receive, send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        loop = asyncio.get_running_loop()
        _transport, stream = await loop.create_unix_connection(Stream, sock=self._ours)
        await self.begin.wait()
        client = scope["extensions"][DIRECT]
        ended = await relay(receive, send, stream, loop.create_future(), client)
        with contextlib.suppress(OSError):
            await send({"type": "websocket.close", "code": 1000})
        stream.close()
        self.ended.set_result(ended)

    async def say(self, data: bytes) -> None:
        async with asyncio.timeout(DEADLINE):
            await asyncio.get_running_loop().sock_sendall(self.end, data)

    async def hear(self, size: int) -> bytes:
        heard = b""
        async with asyncio.timeout(DEADLINE):
            while len(heard) < size:
                heard += await asyncio.get_running_loop().sock_recv(self.end, size - len(heard))
        return heard


@pytest.fixture
async def spliced(serve):
    console = Console()
    reader, writer, _app, server = await serve(app=console)
    yield reader, writer, console, server
    console.end.close()


async def test_spliced_bytes_pass_both_ways_in_order(spliced):
    reader, writer, console, _server = spliced
    up, down = os.urandom(2**20), os.urandom(2**20)
    for start in range(0, len(up), 50_000):
        writer.write(frame(up[start : start + 50_000]))
    assert await console.hear(len(up)) == up
    saying, got = asyncio.ensure_future(console.say(down)), b""
    while len(got) < len(down):
        opcode, data = await read_frame(reader)
        assert opcode == 2
        got += data
    await saying
    assert got == down


async def test_what_a_client_sends_before_the_splice_comes_first(serve):
    console = Console()
    console.begin.clear()
    reader, writer, _app, server = await serve(app=console)
    writer.write(frame(b"1") + frame(b"2"))
    (connection,) = server.server_state.connections
    async with asyncio.timeout(DEADLINE):
        while connection.queue.qsize() < 2:  # noqa: ASYNC110 - a queue has no event for it
            await asyncio.sleep(0.01)
    console.begin.set()
    await console.say(b"x")
    assert await read_frame(reader) == (2, b"x")
    writer.write(frame(b"3"))
    assert await console.hear(3) == b"123"
    console.end.close()


async def test_spliced_sides_wait_for_each_other_F23(spliced):
    reader, writer, console, server = spliced
    reader._transport.pause_reading()
    said = 0
    while await in_time(console.say(bytes(65536))):
        said += 65536
        assert said < 4 * 2**20, "there is no back-pressure"
    (connection,) = server.server_state.connections
    assert connection.transport.get_write_buffer_size() <= SEND_BUFFER + 2 * 256 * 1024
    sent = 0
    writer.transport.set_write_buffer_limits(high=65536)
    while await in_time(writer.drain()):
        writer.write(frame(bytes(65536)))
        sent += 65536
        assert sent < 4 * 2**20, "there is no back-pressure"
    assert await console.hear(sent) == bytes(sent), "one direction does not hold up the other"
    reader._transport.resume_reading()
    got = 0
    while got < said:
        got += len((await read_frame(reader))[1])


async def in_time(work) -> bool:
    try:
        await asyncio.wait_for(work, 0.2)
    except TimeoutError:
        return False
    return True


async def test_the_last_words_come_before_the_close(spliced):
    reader, _writer, console, _server = spliced
    await console.say(b"Power down.")
    console.end.close()
    assert await read_frame(reader) == (2, b"Power down.")
    assert (await read_frame(reader))[0] == 8
    assert await asyncio.wait_for(console.ended, DEADLINE) is Ended.STREAM


async def test_a_client_that_leaves_closes_the_vms_side(spliced):
    _reader, writer, console, _server = spliced
    writer.write(frame(struct.pack("!H", 1000), opcode=8))
    assert await asyncio.wait_for(console.ended, DEADLINE) is Ended.CLIENT
    assert await asyncio.get_running_loop().sock_recv(console.end, 1) == b""
