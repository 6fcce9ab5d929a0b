"""How much longer than on a quiet machine things may take on one that is busy: stated, and printed with each figure."""

import os
import time
from collections.abc import Callable

WAITED_SECONDS = 60.0  # before nothing is measured, because it does not come at all
LOOKED_SECONDS = 0.02  # between two looks


def slack() -> float:
    """Return how many processes want each processor, of the last minute; 1 at least.

    A bound times this is what a test asserts: on a machine with nothing else to do it is the bound itself.
    """
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def in_time(what: str, seconds: float, bound: float, fixed: float = 0.0) -> None:
    """Print what was measured; AssertionError when it is over the bound of RELIABILITY, in seconds.

    The bound is stretched by the slack, but for its `fixed` part: leases and rounds last as long on any machine.
    """
    busy = slack()
    allowed = fixed + (bound - fixed) * busy
    print(f"{what}: {seconds:.2f} s (at most {bound:g} s; {allowed:.0f} s with {busy:.1f} processes a processor)")
    assert seconds <= allowed, f"{what}: {seconds:.2f} s, at most {allowed:.1f} s"


def comes_in_time(condition: Callable[[], object], what: str, bound: float) -> None:
    """Wait until it is true, from now, and be strict about how long that took: `in_time`."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + WAITED_SECONDS, f"after {WAITED_SECONDS} s: {what}"
        time.sleep(LOOKED_SECONDS)
    in_time(what, time.monotonic() - began, bound)
