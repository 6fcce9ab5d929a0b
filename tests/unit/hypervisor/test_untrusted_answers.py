"""A15: what a guest or QEMU says is capped, parsed with care, and never more than data."""

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from hypervisor.errors import AgentUnavailable, HypervisorError
from hypervisor.identity import MAX_ANSWER_BYTES, new_identity
from hypervisor.libvirt_driver import identifying
from hypervisor.libvirt_driver.guests import MAX_ANSWER_CHARACTERS, _parse_answer, _png, _receive


def test_an_answer_is_its_return_value() -> None:
    assert _parse_answer('{"return": {"a": [1, "x"]}}') == {"a": [1, "x"]}
    assert _parse_answer('{"return": {}}') == {}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "nonsense",
        "[]",
        "null",
        '"return"',
        '{"error": {}}',
        "[" * 60_000,
        '{"return": ' + "[" * 50_000 + "]" * 50_000 + "}",
        json.dumps({"return": "x" * MAX_ANSWER_CHARACTERS}),
        '{"return": "\\ud800" ',
    ],
)
def test_every_other_answer_is_no_answer_A15(answer: str) -> None:
    with pytest.raises(AgentUnavailable):
        _parse_answer(answer)


class Stream:
    """A libvirt stream of so many bytes."""

    def __init__(self, size: int) -> None:
        self.left, self.ended = size, ""

    def recv(self, count: int) -> bytes:
        given = min(count, self.left)
        self.left -= given
        return bytes(given)

    def finish(self) -> None:
        self.ended = "finished"

    def abort(self) -> None:
        self.ended = "aborted"


def test_a_stream_is_read_to_its_end_and_cut_at_its_limit() -> None:
    short, long = Stream(600_000), Stream(10**9)
    assert len(_receive(short, 600_000)) == 600_000
    with pytest.raises(HypervisorError):
        _receive(long, 600_000)
    assert (short.ended, long.ended) == ("finished", "aborted")
    assert long.left > 9 * 10**8


@pytest.mark.parametrize("form", ["PPM", "PNG"])
def test_both_formats_of_qemu_become_a_png(form: str) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (720, 400), (1, 2, 3)).save(picture, form)
    with Image.open(io.BytesIO(_png(picture.getvalue()))) as image:
        assert (image.format, image.size, image.getpixel((0, 0))) == ("PNG", (720, 400), (1, 2, 3))


@pytest.mark.parametrize("picture", [b"", b"\x89PNG\r\n\x1a\n", b"P6 100000 100000 255\n", b"GIF89a" + bytes(20)])
def test_what_is_no_picture_is_an_error(picture: bytes) -> None:
    with pytest.raises(HypervisorError):
        _png(picture)


# --- the listener that a clone's identity is told to, and the agent in its place ------------------------------
IDENTITY = new_identity("52:54:00:12:34:56", "10.71.0.9", 20, "10.71.0.1", "quiet-otter")
CHANNEL = f"<channel><source path='x'/><target name='{identifying.IDENTITY_CHANNEL}' state='connected'/></channel>"


class Domain:
    """A domain whose guest holds the listener's channel open."""

    def XMLDesc(self, _flags: int) -> str:
        return f"<domain><devices>{CHANNEL}</devices></domain>"

    def UUIDString(self) -> str:
        return "7be1c9a0-0000-4000-8000-000000000001"


@contextlib.contextmanager
def listener(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """A guest's listener that does this to who comes, until it goes."""
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.bind(str(path))
        waiting.listen()

        def serve() -> None:
            with waiting.accept()[0] as connection, contextlib.suppress(OSError):
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)
        assert not thread.is_alive()


def test_a_listener_that_floods_is_cut_off_A15(tmp_path: Path) -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while True:
            sent += connection.send(b"ack x\n" * 700)

    with listener(tmp_path / "s", flood), pytest.raises(AgentUnavailable, match="says too much"):
        identifying._tell_listener(Domain(), str(tmp_path / "s"), IDENTITY, time.monotonic() + 30)
    assert sent < 4 * MAX_ANSWER_BYTES


def test_a_listener_that_never_answers_has_its_time_A15(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identifying, "_LOOK_SECONDS", 0.05)
    over = threading.Event()
    with listener(tmp_path / "s", lambda _connection: assert_set(over)):
        with pytest.raises(AgentUnavailable, match="in time"):
            identifying._tell_listener(Domain(), str(tmp_path / "s"), IDENTITY, time.monotonic() + 0.3)
        over.set()


def assert_set(event: threading.Event) -> None:
    assert event.wait(10)


@pytest.mark.parametrize("answer", [None, [], 7, "x", {"pid": 7}])
def test_an_agent_that_answers_nonsense_or_never_ends_is_none_A15(answer: object) -> None:
    waited: list[float] = []

    class Guests(identifying.IdentifyVerbs):
        def __init__(self) -> None:
            pass

        def agent(self, *asked: Any) -> Any:
            waited.append(asked[3])
            return answer

    with pytest.raises(AgentUnavailable):
        Guests()._tell_agent(uuid4(), IDENTITY, time.monotonic() + 0.2)
    assert max(waited) <= 5
