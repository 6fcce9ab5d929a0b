"""A serial console in this terminal."""

import contextlib
import os
import select
import sys
import threading
import time
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from .client import Api, Json
from .faults import Code, Fault
from .gateway import NOT_RUNNING, PASSING, close_code, ending, open_stream
from .showing import plain, say
from .terminal import Screen, need_terminal, raw, write_all

LEAVE = b"\x1d"  # Ctrl-]
KEYS = 4096
BACK_SECONDS = 20.0  # for how long a dropped connection is tried again
BACK_PAUSE = 1.0
STEADY_SECONDS = 10.0  # a connection that held this long has earned another try


@dataclass(frozen=True, slots=True)
class Ended:
    """`code` is the websocket's close code, None when the person left."""

    code: int | None
    after_seconds: float


def attach(api: Api, vm: Json) -> None:
    """Show a machine's serial console until the person leaves or the machine ends; Fault."""
    need_terminal()
    name = plain(vm["name"])
    stream = open_stream(api, vm, "serial")
    say(f"Connected to {name}. Leave with Ctrl-]. Nothing there? Press Enter.")
    with raw(sys.stdin.fileno(), sys.stdout.fileno()) as screen:
        code = _attached(api, vm, stream, screen)
    if code is None:
        say(f"Left {name}. It goes on.")
    elif code == NOT_RUNNING:
        say(f"{name} was switched off.")
    else:
        raise ending(code, name)


def _attached(api: Api, vm: Json, stream: ClientConnection, screen: Screen) -> int | None:
    """Carry keys and bytes, after a drop again with a new ticket. Return why it ended for good."""
    until: float | None = None
    while True:
        ended = _carry(stream, screen)
        if ended.code is None or ended.code not in PASSING:
            return ended.code
        if until is None or ended.after_seconds >= STEADY_SECONDS:
            until = time.monotonic() + BACK_SECONDS
            screen.write(b"\r\n[The connection was lost. Connecting again ...]\r\n")
        elif time.monotonic() > until:
            return ended.code
        again = _again(api, vm, until)
        if again is None:
            return None
        stream = again


def _again(api: Api, vm: Json, until: float) -> ClientConnection | None:
    """Open the console anew: the gateway may need a moment to come back. None after Ctrl-]."""
    while not _pressed_leave(BACK_PAUSE):
        try:
            return open_stream(api, vm, "serial")
        except Fault as fault:
            if fault.code != Code.UNREACHABLE or time.monotonic() > until:
                raise
    return None


def _pressed_leave(seconds: float) -> bool:
    """Wait; return whether Ctrl-] came. Other keys of that time go nowhere, as the line was down."""
    stdin = sys.stdin.fileno()
    ready, _, _ = select.select([stdin], [], [], seconds)
    return bool(ready) and LEAVE in os.read(stdin, KEYS)


def _carry(stream: ClientConnection, screen: Screen) -> Ended:
    """Carry one connection to its end."""
    began = time.monotonic()
    over, tell = os.pipe()
    codes: list[int] = []
    listener = threading.Thread(target=_listen, args=(stream, screen, codes, tell), daemon=True)
    listener.start()
    try:
        left = _type(stream, over)
    finally:
        with contextlib.suppress(OSError):
            stream.close()
        listener.join()
        os.close(over)
    return Ended(None if left else codes[0], time.monotonic() - began)


def _type(stream: ClientConnection, over: int) -> bool:
    """Send keys until Ctrl-] (True) or the end of the connection (False)."""
    stdin = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([stdin, over], [], [])
        if over in ready:
            return False
        keys = os.read(stdin, KEYS)
        before, leave, _after = keys.partition(LEAVE)
        with contextlib.suppress(ConnectionClosed):  # the listener says so
            if before:
                stream.send(before)
        if leave or not keys:
            return True


def _listen(stream: ClientConnection, screen: Screen, codes: list[int], tell: int) -> None:
    try:
        while True:
            message = stream.recv()
            screen.write(message if isinstance(message, bytes) else message.encode())
    except ConnectionClosed as closed:
        codes.append(close_code(closed))
    except OSError:  # this terminal has gone
        codes.append(1006)
    finally:
        write_all(tell, b".")
        os.close(tell)
