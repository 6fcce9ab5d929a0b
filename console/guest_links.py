"""Which domains' runners the gateway is connected to: connected when asked for, let go when idle.

QEMU takes one client on a channel, so the gateway holds it only while it has runs there, and some seconds more.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from .guest_link import GuestLink, NoRunner

SUFFIX = ".run"
IDLE_SECONDS = 10.0
SILENT_SECONDS = 60.0  # how long a domain whose runner did not answer is not asked again


class GuestLinks:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._links: dict[UUID, GuestLink] = {}
        self._users: dict[UUID, int] = {}
        self._locks: dict[UUID, asyncio.Lock] = {}
        self._silent: dict[UUID, float] = {}

    @asynccontextmanager
    async def use(self, domain: UUID) -> AsyncIterator[GuestLink]:
        """Yield the connection to a domain's runner; NoRunner. It stays open for the next user, for some seconds."""
        self._users[domain] = self._users.get(domain, 0) + 1
        try:
            yield await self._link(domain)
        finally:
            self._users[domain] -= 1
            if not self._users[domain]:
                del self._users[domain]
                asyncio.get_running_loop().call_later(IDLE_SECONDS, self._let_go, domain)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()

    async def _link(self, domain: UUID) -> GuestLink:
        lock = self._locks.setdefault(domain, asyncio.Lock())
        async with lock:
            link = self._links.get(domain)
            if link is not None and not link.closed:
                return link
            now = asyncio.get_running_loop().time()
            if self._silent.get(domain, 0.0) > now:
                raise NoRunner("it did not answer a moment ago")
            try:
                link = await GuestLink.connect(self._folder / f"{domain}{SUFFIX}", domain)
            except NoRunner:
                self._silent = {uuid: until for uuid, until in self._silent.items() if until > now}
                self._silent[domain] = asyncio.get_running_loop().time() + SILENT_SECONDS
                raise
            self._links[domain] = link
            return link

    def _let_go(self, domain: UUID) -> None:
        if domain in self._users:
            return
        link = self._links.get(domain)
        if link is not None and link.holds:  # a command whose connection broke, in a machine that was paused, say
            asyncio.get_running_loop().call_later(IDLE_SECONDS, self._let_go, domain)
            return
        self._locks.pop(domain, None)
        self._links.pop(domain, None)
        if link is not None:
            link.close()
