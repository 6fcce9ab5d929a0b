"""What people read: tables and JSON on stdout, everything else on stderr."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import typer

COLOURS = {
    "running": "green",
    "ready": "green",
    "succeeded": "green",
    "creating": "yellow",
    "deleting": "yellow",
    "pending": "yellow",
    "paused": "yellow",
    "suspended": "yellow",
    "preparing": "yellow",
    "unknown": "magenta",
    "error": "red",
    "failed": "red",
    "crashed": "red",
}


def plain(text: Any) -> str:
    """Return text without control characters: what others typed must not steer this terminal."""
    said = "" if text is None else str(text)
    return said if said.isprintable() else "".join(char if char.isprintable() else " " for char in said)


def say(line: str) -> None:
    """Tell the person something that no program should read."""
    print(line, file=sys.stderr, flush=True)


def show_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def coloured(text: str, word: str) -> str:
    """Colour text by what `word` means, where somebody looks."""
    if word not in COLOURS or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return typer.style(text, fg=COLOURS[word])


def show_table(titles: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """Print rows under titles. `empty` goes to stderr in place of an empty table."""
    if not rows:
        say(empty)
        return
    cells = [list(titles), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(titles))]
    for number, line in enumerate(cells):
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        if number:
            words = [cell.split(" ")[0] for cell in line]
            padded = [coloured(cell, word) for cell, word in zip(padded, words, strict=True)]
        print("  ".join(padded).rstrip())


def show_facts(facts: Sequence[tuple[str, Any]]) -> None:
    """Print names and values, one a line; values that are empty are left out."""
    given = [(name, plain(value)) for name, value in facts if value not in (None, "", [])]
    width = max(len(name) for name, _value in given)
    for name, value in given:
        print(f"{name.ljust(width)}  {coloured(value, value.split(' ')[0])}")


def size(row: dict[str, Any]) -> str:
    """Say what a machine or flavor has."""
    return f"{row['vcpus']} vCPU, {row['memory_mib']} MiB, {row['disk_gib']} GiB"


def amount(size_bytes: int | None) -> str:
    """Say a number of bytes in the unit that fits."""
    if size_bytes is None:
        return ""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def when(moment: str | None) -> str:
    """Say a time of the API in the person's own zone."""
    if not moment:
        return ""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """Say a time span: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def until(moment: str | None) -> str:
    """Say how long it is until a time of the API."""
    if not moment:
        return ""
    end = datetime.fromisoformat(moment)
    return span((end - datetime.now(end.tzinfo)).total_seconds())


def since(moment: str | None) -> str:
    """Say how long ago a time of the API was."""
    if not moment:
        return ""
    begin = datetime.fromisoformat(moment)
    return span((datetime.now(begin.tzinfo) - begin).total_seconds())
