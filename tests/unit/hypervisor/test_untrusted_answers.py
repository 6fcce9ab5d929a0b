"""A15: what a guest or QEMU says is capped, parsed with care, and never more than data."""

import io
import json

import pytest
from PIL import Image

from hypervisor.errors import AgentUnavailable, HypervisorError
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
