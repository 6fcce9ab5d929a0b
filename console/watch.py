"""Every open console, checked again every few seconds: who loses the right to one is cut off within 5 s."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import structlog

from vms import console_access
from vms.console_access import Grant, Refused

from .blocking import Blocking

log = structlog.get_logger(__name__)
CHECK_SECONDS = 3.0
UNCHECKED_AT_MOST_SECONDS = 30.0  # a database that is away revokes nobody, but not for ever
TRY_AGAIN_LATER = 1013  # close code: the IANA registry of RFC 6455


@dataclass(frozen=True, slots=True)
class OpenConsole:
    """A console under way. Setting `cut` to a close code ends it."""

    grant: Grant
    cut: asyncio.Future[int]

    def end(self, code: int) -> None:
        if not self.cut.done():
            self.cut.set_result(code)


class Watch:
    def __init__(self, blocking: Blocking) -> None:
        self._blocking = blocking
        self._open: dict[UUID, OpenConsole] = {}
        self._checked_at = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, grant: Grant) -> OpenConsole:
        loop = asyncio.get_running_loop()
        if not self._open:
            self._checked_at = loop.time()
        console = OpenConsole(grant, loop.create_future())
        self._open[grant.session_id] = console
        return console

    def remove(self, grant: Grant) -> None:
        self._open.pop(grant.session_id, None)

    def end_all(self, code: int) -> None:
        for console in self._open.values():
            console.end(code)

    async def run(self) -> None:
        """Check for ever, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.check()

    async def check(self) -> None:
        """Check all open consoles at once, and end those whose right is gone."""
        consoles = list(self._open.values())
        if not consoles:
            return
        now = asyncio.get_running_loop().time()
        try:
            refused, back = await self._blocking.database(_check, [console.grant for console in consoles])
            for grant in back:
                if grant.session_id not in self._open:  # it was closed while its row was looked for
                    await self._blocking.database(console_access.close, grant)
        except Exception:
            log.exception("console.check_failed", open=len(consoles))
            if now - self._checked_at > UNCHECKED_AT_MOST_SECONDS:
                for console in consoles:
                    console.end(TRY_AGAIN_LATER)
            return
        self._checked_at = now
        for console in consoles:
            code = refused.get(console.grant.session_id)
            if code is not None:
                log.info("console.cut", console=str(console.grant.session_id), why=code.name.lower())
                console.end(code)


def _check(grants: Collection[Grant]) -> tuple[dict[UUID, Refused], list[Grant]]:
    refused = console_access.verdicts(grants)
    return refused, console_access.keep([grant for grant in grants if grant.session_id not in refused])
