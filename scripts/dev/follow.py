"""Stream the logs of all processes as short lines until supervisord ends or a signal comes.

Usage: follow.py SUPERVISORD_PID_FILE LOG_FOLDER. Structured (JSON) lines are shortened.
"""

import json
import os
import re
import signal
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import TextIO

NAMES = ("web", "gateway", "node-agent", "node-worker", "worker", "redis", "supervisord")
ENDED = re.compile(r"(?:WARN|INFO) exited: ([\w-]+) \((.*)\)")
GAVE_UP = re.compile(r"gave up: ([\w-]+) ")
STARTED = re.compile(r"spawned: '([\w-]+)' with pid (\d+)")
HIDDEN_FIELDS = {"event", "level", "timestamp", "logger", "exception"}
COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
RESET = "\x1b[0m"
COLOURED = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def readable(line: str) -> tuple[str, str]:
    """Return (level, text) of a log line: the event and its fields of a structured one, any other as it is."""
    try:
        entry = json.loads(line) if line.startswith("{") else None
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        return "info", line
    fields = " ".join(f"{key}={value}" for key, value in entry.items() if key not in HIDDEN_FIELDS)
    text = f"{entry.get('event', '')} {fields}".rstrip()
    if entry.get("exception"):
        text += "\n" + entry["exception"]
    return entry.get("level", "info"), text


def news_of_processes(line: str) -> tuple[str, str, str] | None:
    """Return (process, level, text) where supervisord tells of a process that ended or started."""
    if found := ENDED.search(line):
        return found[1], "warning", f"ended ({found[2]}); it is started again"
    if found := GAVE_UP.search(line):
        return (
            found[1],
            "error",
            "does not stay up and is left alone now: mend it, then run ./dev up again",
        )
    if found := STARTED.search(line):
        return found[1], "info", f"started, process {found[2]}"
    return None


def shorten(name: str, line: str) -> str | None:
    """Return what a person wants to read of one log line, or None."""
    if name == "redis" or not line.strip():
        return None
    if name == "supervisord":
        news = news_of_processes(line)
        if news is None:
            return None
        name, level, text = news
    else:
        level, text = readable(line)
    colour = COLOURS.get(level, "") if COLOURED else ""
    return f"{datetime.now().astimezone():%H:%M:%S}  {name:<11}  {colour}{text}{RESET if colour else ''}"


class Tail:
    """New lines of one file, from its present end on, through rotation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream: TextIO | None = None
        self.rest = ""
        self._open(at_end=True)

    def _open(self, *, at_end: bool) -> None:
        try:
            self.stream = self.path.open(errors="replace")
        except FileNotFoundError:
            return
        if at_end:
            self.stream.seek(0, os.SEEK_END)

    def lines(self) -> list[str]:
        """Return the whole lines that came since the last call."""
        if self.stream is None:
            self._open(at_end=False)
        if self.stream is None:
            return []
        text = self.rest + self.stream.read()
        *found, self.rest = text.split("\n")
        if self._rotated():
            self.stream.close()
            self.stream = None
        return found

    def _rotated(self) -> bool:
        assert self.stream is not None
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return True
        here = os.fstat(self.stream.fileno())
        return there.st_ino != here.st_ino or there.st_size < self.stream.tell()


def alive(pid: int) -> bool:
    """Tell whether a process with that id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Print until told to stop."""
    pid = int(Path(sys.argv[1]).read_text())
    tails = {name: Tail(Path(sys.argv[2]) / f"{name}.log") for name in NAMES}
    ended = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches ./dev too, which ends us in its own time
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    while True:
        last_round = ended.is_set() or not alive(pid)
        for name, tail in tails.items():
            for line in tail.lines():
                if (short := shorten(name, line)) is not None:
                    print(short, flush=True)
        if last_round:
            return
        ended.wait(0.25)


if __name__ == "__main__":
    main()
