"""How often one user may ask for something: sliding windows, counted together by all web processes.

The counts live in the cache `shared` (Redis). While Redis is away each process counts for itself: a limit that is
a little too generous for a while is better than a portal that does not answer.
"""

import math
import time
from uuid import UUID

import redis
import structlog
from django.conf import settings
from django.core.cache import caches

from .refusals import TooMany

log = structlog.get_logger(__name__)
AWAY_SECONDS = 10.0  # how long Redis is left alone once it did not answer
_TROUBLE = (redis.RedisError, OSError)
_away_until = 0.0


def take(scope: str, user_id: UUID) -> None:
    """Count one request of a user against every rate of `settings.RATES[scope]`; TooMany when one is used up."""
    waits = [_take(f"{scope}:{user_id}", limit, seconds) for limit, seconds in settings.RATES[scope]]
    if any(waits):
        raise TooMany(math.ceil(max(waits)))


def _take(key: str, limit: int, seconds: int) -> float:
    """Count against one window; returns 0, or the seconds after which the next request has room."""
    global _away_until  # noqa: PLW0603 - one breaker for the process
    now = time.time()
    if now >= _away_until:
        try:
            return _count("shared", key, limit, seconds, now)
        except _TROUBLE as error:
            _away_until = now + AWAY_SECONDS
            log.warning("rates_counted_locally", error=type(error).__name__)
    return _count("default", key, limit, seconds, now)


def _count(cache_name: str, key: str, limit: int, seconds: int, now: float) -> float:
    """Count in the window that `now` is in, weighing the one before by how much of it still overlaps."""
    cache = caches[cache_name]
    index, elapsed = int(now // seconds), now % seconds
    here, before = f"rate:{key}:{seconds}:{index}", f"rate:{key}:{seconds}:{index - 1}"
    cache.add(here, 0, timeout=2 * seconds)
    count, previous = cache.incr(here), cache.get(before, 0)
    if count + previous * (1 - elapsed / seconds) <= limit:
        return 0
    cache.decr(here)  # refused ones do not count, or a stubborn client would never get in again
    return _wait(count - 1, previous, limit, seconds, elapsed)


def _wait(count: int, previous: int, limit: int, seconds: int, elapsed: float) -> float:
    """Return the seconds until one more request fits, if no others come."""
    if count < limit:  # room comes back as the window before fades
        return max(seconds * (1 - (limit - 1 - count) / previous) - elapsed, 1)
    return max(seconds - elapsed + seconds * (1 - (limit - 1) / count), 1)
