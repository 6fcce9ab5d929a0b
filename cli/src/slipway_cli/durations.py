"""Time spans as people type them: 90s, 45m, 2h, 1d."""

import re

from .faults import Code, Fault

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SPAN = re.compile(r"(\d{1,9})([smhd]?)")


def seconds_of(text: str, plain_unit: str) -> int:
    """Return a span in seconds; a number alone is in `plain_unit`. Fault."""
    found = SPAN.fullmatch(text.strip().lower())
    if not found or int(found[1]) == 0:
        raise Fault(f"{text!r} is not a time span.", "Write it like 90s, 45m, 2h or 1d.", Code.USAGE)
    return int(found[1]) * SECONDS[found[2] or plain_unit]


def minutes_of(text: str) -> int:
    """Return a span in minutes, rounded up; a number alone is minutes."""
    return -(-seconds_of(text, "m") // 60)
