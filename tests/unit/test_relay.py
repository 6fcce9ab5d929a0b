"""The byte pump: nothing lost, nothing reordered, nothing kept without bound, and it ends when it should."""

import asyncio
import hashlib
import os
import socket

import pytest

from console.relay import HIGH_WATER, Ended, Stream, relay

DEADLINE = 20


class Browser:
    """The client's side of a websocket: what it sends is queued, what it gets is taken one message at a time."""

    def __init__(self) -> None:
        self.to_vm: asyncio.Queue = asyncio.Queue()
        self.from_vm: asyncio.Queue = asyncio.Queue(maxsize=1)

    async def receive(self):
        return await self.to_vm.get()

    async def send(self, message) -> None:
        await self.from_vm.put(message)

    def type(self, data: bytes) -> None:
        self.to_vm.put_nowait({"type": "websocket.receive", "bytes": data})

    def leave(self) -> None:
        self.to_vm.put_nowait({"type": "websocket.disconnect", "code": 1001})

    async def read(self) -> bytes:
        return (await self.from_vm.get())["bytes"]

    @property
    def unsent_messages(self) -> int:
        return self.to_vm.qsize()


class SplicedBrowser(Browser):
    """The same for a server whose websockets can be spliced: full as soon as one message waits."""

    def __init__(self) -> None:
        super().__init__()
        self.from_vm = asyncio.Queue()
        self.sink = self.room = None
        self.held, self.unsent = False, []

    def attach(self, sink, room) -> None:
        self.sink, self.room = sink, room

    def detach(self) -> None:
        self.sink = self.room = None

    def push(self, data: bytes) -> bool:
        self.from_vm.put_nowait({"bytes": data})
        return False

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False
        while self.unsent and not self.held:
            self.sink(self.unsent.pop(0))

    @property
    def unsent_messages(self) -> int:
        return len(self.unsent)

    def type(self, data: bytes) -> None:
        if self.sink is None:
            super().type(data)
        elif self.held:
            self.unsent.append(data)
        else:
            self.sink(data)

    async def read(self) -> bytes:
        data = await super().read()
        if self.room and self.from_vm.empty():
            self.room()
        return data


class Machine:
    """The VM's side: the other end of the stream, with small buffers so that back-pressure shows early."""

    def __init__(self) -> None:
        ours, self.end = socket.socketpair()
        self.end.setblocking(False)
        self.ours = ours

    async def stream(self, **options) -> Stream:
        _transport, stream = await asyncio.get_running_loop().create_unix_connection(
            lambda: Stream(**options), sock=self.ours
        )
        return stream

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.end, data)

    async def hear(self, size: int) -> bytes:
        heard = b""
        while len(heard) < size:
            heard += await asyncio.get_running_loop().sock_recv(self.end, size - len(heard))
        return heard


@pytest.fixture
async def machine():
    made = Machine()
    yield made
    made.end.close()


@pytest.fixture(params=[Browser, SplicedBrowser], ids=["through tasks", "spliced"])
def browser(request):
    return request.param()


async def start(browser, stream):
    cut = asyncio.get_running_loop().create_future()
    client = browser if isinstance(browser, SplicedBrowser) else None
    running = asyncio.ensure_future(relay(browser.receive, browser.send, stream, cut, client))
    await asyncio.sleep(0)
    return running, cut


async def until(condition) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - the code under test has no event for it
            await asyncio.sleep(0)


async def refused_after(limit: int, step) -> int:
    """Call `step` until it does not end within a fifth of a second; return how often it did."""
    for count in range(limit):
        try:
            async with asyncio.timeout(0.2):
                await step()
        except TimeoutError:
            return count
    raise AssertionError(f"all {limit} were taken: there is no back-pressure")


async def test_bytes_pass_unchanged_both_ways(machine, browser):
    stream = await machine.stream()
    running, _cut = await start(browser, stream)
    browser.type(b"\x00\xffls\r")
    browser.to_vm.put_nowait({"type": "websocket.receive", "text": "é"})
    assert await machine.hear(7) == b"\x00\xffls\r" + "é".encode()
    await machine.say(b"RFB 003.008\n")
    assert await browser.read() == b"RFB 003.008\n"
    browser.leave()
    assert await running is Ended.CLIENT
    stream.close()


async def test_a_large_stream_arrives_whole_through_a_slow_reader(machine, browser):
    stream = await machine.stream(high_water=8192)
    running, _cut = await start(browser, stream)
    data = os.urandom(2**21)
    saying = asyncio.ensure_future(machine.say(data))
    got, messages = hashlib.sha256(), 0
    size = 0
    while size < len(data):
        part = await browser.read()
        await asyncio.sleep(0)
        got.update(part)
        size, messages = size + len(part), messages + 1
    await saying
    assert got.digest() == hashlib.sha256(data).digest()
    assert messages < len(data) / 2048, "what waits is joined into few messages"
    browser.leave()
    await running
    stream.close()


async def test_a_reader_that_stops_makes_the_writer_wait_F23(machine, browser):
    stream = await machine.stream()
    running, _cut = await start(browser, stream)
    # one message in flight, one that waits, what the stream holds, and the kernel's own buffers
    most = 4 * HIGH_WATER // 65536
    await refused_after(most, lambda: machine.say(bytes(65536)))
    assert stream.waiting <= HIGH_WATER + 256 * 1024, "at most one read past the mark"
    browser.leave()
    await running
    stream.close()


async def test_a_machine_that_stops_reading_makes_the_client_wait_A18(machine, browser):
    stream = await machine.stream()
    running, _cut = await start(browser, stream)
    for _ in range(200):
        browser.type(bytes(65536))
    async with asyncio.timeout(DEADLINE):
        taken = -1
        while taken != browser.unsent_messages:  # until it no longer takes any
            taken = browser.unsent_messages
            await asyncio.sleep(0.1)
    assert taken > 190, "all but a few messages are still the client's"
    assert await machine.hear(200 * 65536) == bytes(200 * 65536), "and none is lost"
    browser.leave()
    await running
    stream.close()


async def test_the_last_words_of_a_machine_are_delivered(machine, browser):
    stream = await machine.stream()
    running, _cut = await start(browser, stream)
    await machine.say(b"Power down.")
    machine.end.close()
    assert await browser.read() == b"Power down."
    assert await running is Ended.STREAM


async def test_a_cut_ends_it_at_once_even_when_both_sides_are_stuck(machine, browser):
    stream = await machine.stream()
    running, cut = await start(browser, stream)
    await machine.say(bytes(65536))
    await until(lambda: not browser.from_vm.empty())
    await machine.say(bytes(65536))
    cut.set_result(4403)
    async with asyncio.timeout(1):
        assert await running is Ended.CUT
    stream.close()


async def test_what_is_cut_before_it_begins_passes_not_a_byte(machine, browser):
    stream = await machine.stream()
    await machine.say(b"secret")
    await until(lambda: stream.waiting)
    cut = asyncio.get_running_loop().create_future()
    cut.set_result(4403)
    assert await relay(browser.receive, browser.send, stream, cut) is Ended.CUT
    assert browser.from_vm.empty()
    stream.close()


async def test_a_server_that_says_the_client_is_gone_ends_it(machine):
    stream = await machine.stream()

    async def send(_message):
        raise OSError("gone")

    browser = Browser()
    cut = asyncio.get_running_loop().create_future()
    running = asyncio.ensure_future(relay(browser.receive, send, stream, cut))
    await machine.say(b"x")
    assert await running is Ended.CLIENT
    stream.close()


async def test_a_cancelled_relay_leaves_no_task_behind(machine, browser):
    stream = await machine.stream()
    before = asyncio.all_tasks()
    running, _cut = await start(browser, stream)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == before
    stream.close()
