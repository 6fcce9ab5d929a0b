"""Bells: telling other processes that the database has news, without ever waiting for Redis.

Ringing happens on one background loop per process. A bell that cannot be rung is dropped: operations are found
by the poller, browsers re-read when they reconnect. The database is the truth (docs/architecture.md).
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)
MAX_WAITING = 5000
TIMEOUT_SECONDS = 5.0


class BellTower:
    """One thread with one event loop, started at the first bell and again after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._waiting = 0
        self._heard = True

    def ring(self, bell: Callable[[], Awaitable[None]]) -> None:
        """Run `bell()` soon, on the background loop; drop it when thousands are waiting."""
        loop = self._running_loop()
        with self._lock:
            if self._waiting >= MAX_WAITING:
                return
            self._waiting += 1
        asyncio.run_coroutine_threadsafe(self._ring(bell), loop)

    async def _ring(self, bell: Callable[[], Awaitable[None]]) -> None:
        try:
            await asyncio.wait_for(bell(), TIMEOUT_SECONDS)
            self._heard = True
        except Exception as error:  # noqa: BLE001 - whatever Redis does, the work itself is already safe
            if self._heard:  # said once, not for every bell of an outage
                log.warning("bells_not_heard", error=type(error).__name__)
            self._heard = False
        finally:
            with self._lock:
                self._waiting -= 1

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid, self._waiting = asyncio.new_event_loop(), os.getpid(), 0
                threading.Thread(target=self._loop.run_forever, name="bells", daemon=True).start()
            return self._loop


tower = BellTower()
