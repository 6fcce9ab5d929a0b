"""This terminal: raw while a console is open, and as it was afterwards, whatever happens."""

import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from .faults import Code, Fault

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
ALTERNATE_ON, ALTERNATE_OFF = b"\x1b[?1049h", b"\x1b[?1049l"
# attributes off, cursor shown, keys and wrapping as usual, no mouse reports, no marks around what is pasted
CALM = b"\x1b[0m\x1b[?25h\x1b[?1l\x1b>\x1b[?7h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l"


def need_terminal() -> None:
    """Fault unless a person sits in front of us."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Fault("A console needs a terminal on stdin and stdout.", "Run it without pipes.", Code.USAGE)


class Screen:
    """What the guest writes to; it remembers what it must set right again."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._alternate = False
        self._tail = b""

    def write(self, data: bytes) -> None:
        seen = self._tail + data
        on, off = seen.rfind(ALTERNATE_ON), seen.rfind(ALTERNATE_OFF)
        if on != off:  # both are -1 where neither is in there
            self._alternate = on > off
        self._tail = seen[-len(ALTERNATE_ON) + 1 :]
        write_all(self._descriptor, data)

    def calm(self) -> None:
        """Undo what a full-screen program of the guest left behind."""
        write_all(self._descriptor, (ALTERNATE_OFF if self._alternate else b"") + CALM + b"\r\n")


@contextmanager
def raw(stdin: int, stdout: int) -> Iterator[Screen]:
    """Hand every key on unread, until the block ends; also when a signal ends it."""
    before = termios.tcgetattr(stdin)
    handlers = {number: signal.signal(number, _leave) for number in ENDING_SIGNALS}
    screen = Screen(stdout)
    try:
        tty.setraw(stdin, termios.TCSADRAIN)
        yield screen
    finally:
        screen.calm()
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it: a terminal or pipe may take less at a time."""
    while data:
        data = data[os.write(descriptor, data) :]
