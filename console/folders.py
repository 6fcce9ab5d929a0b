"""What is in a folder of a guest: its own `find` and `stat` tell. What they say is input: counted, cut off, parsed.

A line is "MODE SIZE ./NAME". No name has a slash in it, so no name, whatever else is in it, looks like another line.
"""

import re
import stat
from collections.abc import Awaitable, Callable
from typing import TypedDict

LIST = r"""
[ -e "$1" ] || exit 44
[ -d "$1" ] || exit 45
cd "$1" && exec find . -mindepth 1 -maxdepth 1 -exec stat -c '%f %s %n' {} +
"""
AT_MOST = 1000  # entries
AT_MOST_BYTES = 256 * 1024
_LINE = re.compile(rb"(?:^|\n)([0-9a-f]{1,8}) ([0-9]{1,19}) \./")
_KINDS = {stat.S_IFDIR: "folder", stat.S_IFREG: "file", stat.S_IFLNK: "link"}


class Entry(TypedDict):
    """One name: `kind` is folder, file, link or other; what is no text cannot be asked for, and is other."""

    name: str
    kind: str
    size_bytes: int


class Listing(TypedDict):
    """Folders first, then by name; `more` where not all of it is here."""

    entries: list[Entry]
    more: bool


async def read(piece: Callable[[], Awaitable[bytes]]) -> tuple[bytes, bool]:
    """Return what a listing says, up to the cap, and whether it went on; `piece` returns b"" at its end."""
    said = b""
    while len(said) <= AT_MOST_BYTES:
        found = await piece()
        if not found:
            return said, False
        said += found
    return said[:AT_MOST_BYTES].rpartition(b"\n")[0], True


def parse(said: bytes, cut: bool) -> Listing:
    """Return the entries of a listing; `cut` is whether it went on."""
    parts = _LINE.split(said.removesuffix(b"\n"))[1:]
    entries = [_entry(*parts[at : at + 3]) for at in range(0, len(parts), 3)]
    entries.sort(key=lambda entry: (entry["kind"] != "folder", entry["name"]))
    return Listing(entries=entries[:AT_MOST], more=cut or len(entries) > AT_MOST)


def _entry(mode: bytes, size: bytes, raw: bytes) -> Entry:
    kind = _KINDS.get(stat.S_IFMT(int(mode, 16)), "other")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        name, kind = raw.decode("utf-8", "replace"), "other"
    return Entry(name=name, kind=kind, size_bytes=int(size))
