"""Serial lines: held by the gateway, remembered, shown to several at once, and never growing."""

import asyncio
import socket
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest

from console.scrollback import CAPACITY, SLACK, Scrollback
from console.serial_hub import MESSAGE, SerialHub
from tests.serial_line import FakeQemu

DEADLINE = 20


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="sw-") as short:  # socket paths have 107 bytes
        yield Path(short)


@pytest.fixture
async def hub(folder, monkeypatch):
    monkeypatch.setattr("console.serial_hub.SCAN_SECONDS", 0.02)
    made = SerialHub(folder)
    task = asyncio.ensure_future(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def qemu(folder):
    made = FakeQemu(folder)
    yield made
    made.die()


async def read(viewer, size: int) -> bytes:
    got = b""
    async with asyncio.timeout(DEADLINE):
        while len(got) < size:
            part = await viewer.read()
            assert part, "the line ended"
            got += part
    return got


async def test_a_line_is_held_from_the_moment_it_appears_and_remembered(hub, qemu):
    await qemu.accept()
    await qemu.say(b"SeaBIOS\r\nBooting\r\n")
    viewer = await hub.view(qemu.uuid)
    assert await read(viewer, 18) == b"SeaBIOS\r\nBooting\r\n", "what was said before anybody looked"
    await qemu.say(b"login: ")
    assert await read(viewer, 7) == b"login: "


async def test_several_viewers_see_the_same_and_each_may_type(hub, qemu):
    await qemu.accept()
    first, second = await hub.view(qemu.uuid), await hub.view(qemu.uuid)
    await qemu.say(b"login: ")
    assert await read(first, 7) == await read(second, 7) == b"login: "
    first.write(b"ro")
    second.write(b"ot\r")
    await second.drain()
    assert await qemu.hear(5) == b"root\r"
    first.close()
    second.write(b"x")
    assert await qemu.hear(1) == b"x", "one that leaves takes nobody with it"


async def test_a_viewer_that_does_not_read_holds_up_nobody_and_costs_nothing_A18(hub, qemu):
    await qemu.accept()
    asleep, awake = await hub.view(qemu.uuid), await hub.view(qemu.uuid)
    line = awake._line
    flood = b"y\r\n" * 100_000
    for _round in range(20):
        saying = asyncio.ensure_future(qemu.say(flood))
        while not saying.done():
            await asyncio.wait_for(awake.read(), DEADLINE)
        assert len(line.scrollback._bytes) <= CAPACITY + SLACK, "6 MB said, a quarter of one kept"
    await qemu.say(b"END")
    end = b""
    while not end.endswith(b"END"):
        end = end[-3:] + await asyncio.wait_for(awake.read(), DEADLINE)
    late = b""
    while not late.endswith(b"END"):
        late += await asyncio.wait_for(asleep.read(), DEADLINE)
    assert len(late) <= CAPACITY + SLACK, "it skips what it missed"
    assert late.startswith(b"y\r\n"), "and goes on with a whole line"


async def test_a_guest_that_does_not_read_makes_who_types_wait_A18(hub, qemu):
    await qemu.accept()
    viewer = await hub.view(qemu.uuid)
    written, stuck = 0, False
    while not stuck:
        viewer.write(bytes(16384))
        written += 16384
        assert written < 2**21, "there is no back-pressure"
        try:
            await asyncio.wait_for(viewer.drain(), 0.2)
        except TimeoutError:
            stuck = True
    assert await qemu.hear(written) == bytes(written), "and nothing typed is lost"


async def test_a_line_comes_back_with_its_machine(hub, qemu):
    await qemu.accept()
    viewer = await hub.view(qemu.uuid)
    qemu.die()
    assert await asyncio.wait_for(viewer.read(), DEADLINE) == b"", "the viewer learns that it is over"
    viewer.close()
    assert await hub.view(qemu.uuid) is None
    qemu.start()
    await qemu.accept()
    await qemu.say(b"again")
    viewer = await hub.view(qemu.uuid)
    assert await read(viewer, 5) == b"again", "nothing of the former life"


async def test_a_socket_left_by_a_dead_qemu_is_tried_again_when_it_is_new(hub, qemu, folder):
    await qemu.accept()
    viewer = await hub.view(qemu.uuid)
    qemu.die(leave_file=True)
    assert await asyncio.wait_for(viewer.read(), DEADLINE) == b""
    assert await hub.view(qemu.uuid) is None, "nobody answers"
    await hub.scan()
    assert qemu.uuid in hub._refused, "not asked again at every scan"
    qemu.path.unlink()
    qemu.start()
    await qemu.accept()
    assert await hub.view(qemu.uuid) is not None


async def test_what_is_no_serial_socket_is_left_alone(hub, folder):
    (folder / f"{uuid4()}.serial").write_text("a file")
    (folder / "notes.serial").write_text("not a uuid")
    stranger = socket.socket(socket.AF_UNIX)
    stranger.bind(str(folder / f"{uuid4()}.monitor"))
    await hub.scan()
    assert not hub._lines
    stranger.close()


async def test_a_folder_that_does_not_exist_yet_is_waited_for(folder):
    hub = SerialHub(folder / "later")
    await hub.scan()
    (folder / "later").mkdir()
    qemu = FakeQemu(folder / "later")
    await hub.scan()
    await qemu.accept()
    assert await hub.view(qemu.uuid) is not None
    hub.close()
    qemu.die()


@pytest.mark.parametrize("sizes", [[1] * 50, [7, 100, 3, 64], [300], [99, 1, 1, 98]])
def test_scrollback_keeps_the_last_bytes_and_their_positions(sizes):
    scrollback, said = Scrollback(capacity=100, slack=20), b""
    for number, size in enumerate(sizes):
        part = bytes([number % 251]) * size
        scrollback.append(part)
        said += part
        assert scrollback.end == len(said)
        assert len(scrollback._bytes) <= 120
    data, position = scrollback.read(scrollback.end - 10, 1000)
    assert (data, position) == (said[-10:], len(said))


def test_scrollback_hands_out_no_more_than_asked():
    scrollback = Scrollback()
    scrollback.append(bytes(MESSAGE * 2))
    data, position = scrollback.read(scrollback.begin, MESSAGE)
    assert (len(data), position) == (MESSAGE, MESSAGE)


def test_a_new_reader_begins_with_a_whole_line_once_something_was_forgotten():
    scrollback = Scrollback(capacity=20, slack=10)
    scrollback.append(b"first\nsecond\nthird\nfourth\nfifth\n")
    data, _position = scrollback.read(scrollback.begin, 1000)
    assert data == b"third\nfourth\nfifth\n"
