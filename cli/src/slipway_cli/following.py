"""Waiting for operations, with their steps on stderr as they come."""

import sys
import time

from .client import Api, Json
from .faults import Code, Fault
from .showing import plain, say

ENDED = ("succeeded", "failed", "cancelled")
FIRST_PAUSE, LONGEST_PAUSE = 0.15, 1.0  # seconds between looks
AWAY_SECONDS = 120.0  # for how long a portal that does not answer is asked again
CLEAR_LINE = "\r\x1b[K"
# the steps that we know in words; others are shown by their names
WORDS = {
    "address": "reserving an address",
    "disk": "preparing the disk",
    "seed": "writing name, keys and user data",
    "domain": "defining the machine",
    "running": "starting",
    "agent": "waiting for the guest",
    "ask_stop": "asking the guest to shut down",
    "stopped": "waiting for the guest to shut down",
    "forced_off": "switching off",
    "ask_reboot": "asking the guest to reboot",
    "rebooted": "waiting for the guest to come back",
    "grown": "growing the disk",
    "redefined": "changing processors and memory",
    "undefined": "removing the machine",
    "no_disks": "removing disks",
    "no_address": "releasing the address",
    "overlay": "preparing its disk",
    "cloned": "cloning",
    "named": "giving it its own identity",
    "saved": "writing its memory to disk",
    "booted": "waiting for the guest",
    "ready": "running the ready script",
    "quiet": "bringing the guest to rest",
    "frozen": "freezing memory and disk",
    "gone": "checking that nothing is left",
}


class Progress:
    """Steps of one operation: a line each, and on a terminal one that is written again while it lasts."""

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self.title = title
        self._quiet = quiet  # nothing but what is wiped away again
        self._live = sys.stderr.isatty()
        self._began = time.monotonic()
        self._last = ""

    def step(self, text: str) -> None:
        """Show what is under way."""
        if self._live:
            print(f"{CLEAR_LINE}{self.title}: {text} ({self._seconds()})", end="", file=sys.stderr, flush=True)
        elif text != self._last and not self._quiet:
            say(f"{self.title}: {text} ({self._seconds()})")
        self._last = text

    def clear(self) -> None:
        """Leave no half line behind."""
        if self._live:
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)

    def end(self, text: str) -> None:
        self.clear()
        if not self._quiet:
            say(f"{self.title}: {text} ({self._seconds()})")

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._began:.1f} s"


def follow(api: Api, operation: Json, *, quiet: bool = False) -> Json:
    """Wait until an operation has succeeded and return it; Fault when it failed, was cancelled or Ctrl-C came.

    `quiet` writes nothing that stays: for commands whose stderr is somebody else's.
    """
    kind = operation["kind"].replace("_", " ")
    progress = Progress(f"{plain(operation.get('vm', {}).get('name'))}: {kind}".removeprefix(": "), quiet=quiet)
    try:
        ended = _wait(api, operation, progress)
    except KeyboardInterrupt:
        progress.clear()
        raise Fault(
            f"Not waiting any longer. The operation goes on: {kind}.",
            f"Look at it:  slipway op show {operation['id']}\nEnd it:      slipway op cancel {operation['id']}",
            Code.INTERRUPTED,
        ) from None
    except BaseException:
        progress.clear()
        raise
    if ended["status"] == "succeeded":
        progress.end("done")
        return ended
    progress.clear()
    error = ended["error"] or {}
    detail = plain(error.get("detail")) or f"it ended {ended['status']}"
    where = f" at the step {ended['step']}" if ended["step"] and ended["status"] == "failed" else ""
    raise Fault(
        f"{progress.title} {ended['status']}{where}: {detail}",
        f"More about it: slipway op show {ended['id']}",
        slug=str(error.get("code", "")),
    )


def _wait(api: Api, operation: Json, progress: Progress) -> Json:
    pause = FIRST_PAUSE
    heard = time.monotonic()
    while operation["status"] not in ENDED:
        progress.step(_words(operation))
        time.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)
        try:
            operation = api.get(f"operations/{operation['id']}")
            heard = time.monotonic()
        except Fault as fault:
            if fault.code != Code.UNREACHABLE or time.monotonic() - heard > AWAY_SECONDS:
                raise
            progress.step("the portal does not answer; asking again")
    return operation


def _words(operation: Json) -> str:
    if operation["status"] == "pending" and not operation["step"]:
        return "waiting for its turn"
    attempt = f", attempt {operation['attempt']}" if operation["attempt"] > 1 else ""
    step = WORDS.get(operation["step"], operation["step"].replace("_", " "))
    return f"{step}, {operation['progress']} %{attempt}"
