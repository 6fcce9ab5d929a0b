"""The gateway's side of a runner's channel, and guests that lie: what breaks the rules loses its connection."""

import asyncio
import random
import struct
import tempfile
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from console import guest_link
from console.guest_link import GuestLink, NoRunner, RunLost, RunRefused
from console.guest_links import GuestLinks
from hypervisor import run_wire as wire
from hypervisor.run_wire import Order

DEADLINE = 10
SESSION = uuid4()


class Liar:
    """A guest that a test writes: `hello` is answered, then `say` whatever it likes."""

    def __init__(self, path):
        self.path = path
        self.frames = asyncio.Queue()
        self.greet = True
        self.runs = ()
        self._writers = []
        self._server = None

    async def __aenter__(self):
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        return self

    async def __aexit__(self, *_error):
        for writer in self._writers:
            writer.close()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self._writers.append(writer)
        try:
            while True:
                while (kind := await reader.readexactly(1)) == b"\0":
                    pass
                header = kind + await reader.readexactly(wire.HEADER.size - 1)
                _kind, flags, length, run, _sum = wire.HEADER.unpack(header)
                payload = await reader.readexactly(length)
                if kind == b"H" and self.greet:
                    held = b"".join(run.bytes for run in self.runs)
                    writer.write(wire.frame(b"H", wire.NOBODY, wire.MAGIC + payload[32:48] + held))
                else:
                    self.frames.put_nowait((kind, UUID(bytes=run), flags, payload))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def say(self, data):
        self._writers[-1].write(data)

    async def heard(self, kind):
        async with asyncio.timeout(DEADLINE):
            while (frame := await self.frames.get())[0] != kind:
                pass
        return frame


@pytest.fixture
async def liar():
    with tempfile.TemporaryDirectory(prefix="sw-") as short:
        async with Liar(Path(short) / f"{SESSION}.run") as made:
            yield made


@pytest.fixture
async def link(liar):
    made = await GuestLink.connect(liar.path, SESSION)
    yield made
    made.close()


async def begun(link, liar):
    """Begin a run, as the guest says it has."""
    beginning = asyncio.ensure_future(link.begin(Order(["true"])))
    _kind, run, _flags, _payload = await liar.heard(b"B")
    liar.say(wire.frame(b"G", run, bytes(8)))
    return await beginning


def output(run, offset, data, stream=1):
    return wire.frame(b"O", run, struct.pack("<Q", offset) + data, stream)


def exited(run, code=0, signal=0, stdout=0, stderr=0):
    return wire.frame(b"X", run, struct.pack("<iIQQQQQ", code, signal, stdout, stderr, 0, 0, 0))


async def test_what_the_guest_says_is_paced_by_who_reads_it(link, liar):
    run = await begun(link, liar)
    liar.say(output(run.id, 0, b"hello") + output(run.id, 0, b"oops", 2) + exited(run.id, 5))
    pieces = [await run.read(), await run.read(), await run.read()]
    assert pieces == [(0, b"hello"), (1, b"oops"), None]
    assert run.exited.code == 5
    run.take(0, 5)
    _kind, _run, _flags, payload = await liar.heard(b"A")
    assert struct.unpack("<QQ", payload) == (5, 0)


async def test_stdin_waits_for_room(link, liar):
    run = await begun(link, liar)
    sending = asyncio.ensure_future(run.send(bytes(3 * wire.WINDOW_BYTES), last=True))
    got = 0
    while got < 3 * wire.WINDOW_BYTES:
        _kind, _run, flags, payload = await liar.heard(b"I")
        assert struct.unpack("<Q", payload[:8])[0] == got
        got += len(payload) - 8
        if got % wire.WINDOW_BYTES == 0:
            assert liar.frames.empty()
            liar.say(wire.frame(b"W", run.id, struct.pack("<Q", got)))
    assert flags == 1
    await asyncio.wait_for(sending, DEADLINE)


LIES = {
    "a frame that is too long": lambda run: wire.frame(b"O", run, bytes(wire.FROM_GUEST_BYTES + 1), 1),
    "an unknown type": lambda run: wire.frame(b"?", run),
    "a type of the host's": lambda run: wire.frame(b"B", run),
    "a wrong checksum": lambda run: output(run, 0, b"x")[:-1] + b"y",
    "an output without a byte": lambda run: output(run, 0, b""),
    "a third stream": lambda run: output(run, 0, b"x", 3),
    "an offset beyond all": lambda run: output(run, 2**64 - 1, b"x"),
    "what was said before": lambda run: output(run, 0, b"xx") + output(run, 1, b"x"),
    "more than may be on the way": lambda run: b"".join(output(run, at * 9000, bytes(9000)) for at in range(8)),
    "words after the end": lambda run: exited(run) + output(run, 0, b"x"),
    "an exit code that is none": lambda run: exited(run, 256),
    "an exit code below none": lambda run: exited(run, -2),
    "a signal that is none": lambda run: exited(run, -1, 65),
    "an exit that is cut off": lambda run: wire.frame(b"X", run, bytes(47)),
    "input that was not sent": lambda run: wire.frame(b"W", run, struct.pack("<Q", 1)),
    "a state that is cut off": lambda run: wire.frame(b"G", run, bytes(7)),
    "noise": lambda _run: random.Random(7).randbytes(5000),
}


async def how_it_was_lost(run):
    try:
        while await run.read() is not None:
            pass
    except RunLost as lost:
        return str(lost)
    return "it has ended"


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_ends_the_connection_and_its_runs_A15(link, liar, lie):
    run = await begun(link, liar)
    liar.say(LIES[lie](run.id))
    async with asyncio.timeout(DEADLINE):
        assert "rules" in await how_it_was_lost(run) or lie == "words after the end"
        while not link.closed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_frames_about_runs_that_nobody_has_are_dropped(link, liar):
    liar.say(output(uuid4(), 5, b"x") + exited(uuid4()) + wire.frame(b"G", uuid4(), bytes(8)))
    run = await begun(link, liar)
    liar.say(exited(run.id, 1))
    assert await run.read() is None


async def test_a_reason_is_cut_and_made_harmless_A15(link, liar):
    beginning = asyncio.ensure_future(link.begin(Order(["true"])))
    _kind, run, _flags, _payload = await liar.heard(b"B")
    liar.say(wire.frame(b"N", run, b"\x1b[31m<b>\xff" + b"x" * 5000))
    with pytest.raises(RunRefused) as caught:
        await beginning
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) == 200


async def test_silence_has_its_limit_A15(liar, monkeypatch):
    monkeypatch.setattr(guest_link, "ANSWER_SECONDS", 0.2)
    link = await GuestLink.connect(liar.path, SESSION)
    with pytest.raises(NoRunner):
        await link.attach(uuid4(), 0, 0)
    with pytest.raises(NoRunner):
        await link.ping()
    assert not link.busy
    await liar.heard(b"F")
    with pytest.raises(RunLost, match="whether"):  # it may have been heard: nobody begins it in another way
        await link.begin(Order(["true"]))
    assert link.closed  # a runner that came anew hears nothing of this connection
    liar.greet = False
    with pytest.raises(NoRunner):
        await GuestLink.connect(liar.path, SESSION)


async def test_a_hello_is_said_again_and_may_be_answered_twice(liar):
    liar.greet = False
    connecting = asyncio.ensure_future(GuestLink.connect(liar.path, SESSION))
    await liar.heard(b"H")
    liar.greet = True
    link = await asyncio.wait_for(connecting, DEADLINE)
    run = await begun(link, liar)
    liar.say(wire.frame(b"H", wire.NOBODY, wire.MAGIC + link._nonce))  # of a guest that was slow the first time
    liar.say(exited(run.id, 1))
    assert await run.read() is None
    assert not link.closed
    link.close()


async def test_a_guest_that_babbles_instead_of_a_greeting_A15(liar, monkeypatch):
    monkeypatch.setattr(guest_link, "ANSWER_SECONDS", 0.5)
    liar.greet = False
    connecting = asyncio.ensure_future(GuestLink.connect(liar.path, SESSION))
    await liar.heard(b"H")
    for _ in range(100):
        liar.say(random.Random(8).randbytes(10_000))
    with pytest.raises(NoRunner):
        await connecting


def test_what_comes_before_a_greeting_takes_no_memory():
    decoder = wire.Decoder(wire.new_nonce())
    for _ in range(100):
        assert list(decoder.feed(bytes(100_000))) == []
    assert len(decoder._bytes) < 200


def test_a_greeting_is_found_wherever_it_begins_and_however_it_is_cut():
    nonce, run = wire.new_nonce(), uuid4()
    said = b"the end of something" + wire.frame(b"H", wire.NOBODY, wire.MAGIC + nonce + run.bytes) + exited(run)
    for size in (1, 3, 50, 1000):
        decoder = wire.Decoder(nonce)
        events = [event for at in range(0, len(said), size) for event in decoder.feed(said[at : at + size])]
        assert [type(event) for event in events] == [wire.Hello, wire.Exited]
        assert events[0].runs == (run,)


async def test_a_guest_that_does_not_read_loses_its_connection(liar, monkeypatch):
    monkeypatch.setattr(guest_link, "UNREAD_BYTES", 100_000)
    link = await GuestLink.connect(liar.path, SESSION)
    run = await begun(link, liar)
    liar._server.close()
    liar._writers[-1].transport.pause_reading()
    for _ in range(100_000):
        run.kill(0)
        if link.closed:
            break
    with pytest.raises(RunLost, match="does not read"):
        await run.read()


async def test_what_the_guest_holds_and_nobody_wants_is_given_up(liar, monkeypatch):
    monkeypatch.setattr(guest_link, "ORPHAN_SECONDS", 0.1)
    liar.runs = (uuid4(),)
    link = await GuestLink.connect(liar.path, SESSION)
    assert (await liar.heard(b"F"))[1] == liar.runs[0]
    link.close()


async def test_a_machine_that_goes_away_ends_its_runs(link, liar):
    run = await begun(link, liar)
    waiting = asyncio.ensure_future(run.send(bytes(10 * wire.WINDOW_BYTES)))
    await liar.heard(b"I")
    liar._writers[-1].close()
    with pytest.raises(RunLost, match="went away"):
        await run.read()
    with pytest.raises(RunLost):
        await waiting
    with pytest.raises(RunLost):
        await link.begin(Order(["true"]))


async def test_links_are_shared_let_go_and_not_asked_again_at_once(liar, monkeypatch):
    monkeypatch.setattr("console.guest_links.IDLE_SECONDS", 0.05)
    monkeypatch.setattr(guest_link, "ANSWER_SECONDS", 0.2)
    links = GuestLinks(liar.path.parent)
    async with links.use(SESSION) as one, links.use(SESSION) as other:
        assert one is other
    async with links.use(SESSION) as third:
        assert third is one
        await asyncio.sleep(0.1)
        assert not one.closed, "somebody uses it"
    async with asyncio.timeout(DEADLINE):
        while not one.closed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    liar.greet = False
    for why in ("no answer", "a moment ago"):
        with pytest.raises(NoRunner, match=why):
            async with links.use(SESSION):
                pass
    with pytest.raises(NoRunner):
        async with links.use(uuid4()):
            pass
    links.close()


async def test_a_flood_of_frames_is_not_read_as_fast_as_it_comes_A18(link, liar, monkeypatch):
    monkeypatch.setattr(guest_link, "FRAMES_A_SECOND", 200)
    link._allowance = 200.0
    run = await begun(link, liar)
    liar.say(wire.frame(b"P", wire.NOBODY, b"unasked") * 300 + output(run.id, 0, b"said at last"))
    before = asyncio.get_running_loop().time()
    async with asyncio.timeout(DEADLINE):
        while link._transport.is_reading():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await asyncio.wait_for(run.read(), DEADLINE) == (0, b"said at last")
    liar.say(output(run.id, 12, b"later"))
    assert await asyncio.wait_for(run.read(), DEADLINE) == (0, b"later")
    assert asyncio.get_running_loop().time() - before > 0.3
    assert not link.closed


async def test_a_connection_is_held_until_what_nobody_wants_is_given_up(liar, monkeypatch):
    monkeypatch.setattr("console.guest_links.IDLE_SECONDS", 0.05)
    monkeypatch.setattr(guest_link, "ORPHAN_SECONDS", 0.5)
    liar.runs = (uuid4(),)
    links = GuestLinks(liar.path.parent)
    async with links.use(SESSION) as link:
        pass
    assert (await liar.heard(b"F"))[1] == liar.runs[0]
    async with asyncio.timeout(DEADLINE):
        while not link.closed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    links.close()
