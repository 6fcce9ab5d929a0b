"""libvirt's domain events as an asyncio stream. They are hints and get lost: every (re)connect says so with a None."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import libvirt

from .libvirt_driver.event_loop import ensure_event_loop
from .specs import DomainEvent

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 5.0
KEEPALIVE = (5, 5)
MAX_WAITING = 10_000  # a flood beyond this is answered by one full comparison

_WATCHED = {
    libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE: "lifecycle",
    libvirt.VIR_DOMAIN_EVENT_ID_REBOOT: "reboot",
    libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG: "watchdog",
    libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON: "io_error",
    libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: "agent",
}


class DomainEvents:
    """Events of all domains of one libvirt, for as long as somebody listens."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    async def listen(self) -> AsyncIterator[DomainEvent | None]:
        """Yield events as they come, and None after each connect: then everything must be read again. Never ends."""
        retry = FIRST_RETRY_SECONDS
        while True:
            queue: asyncio.Queue[DomainEvent | None] = asyncio.Queue(MAX_WAITING)
            connection = await self._connect(queue)
            if connection is None:
                await asyncio.sleep(retry)
                retry = min(2 * retry, LAST_RETRY_SECONDS)
                continue
            retry = FIRST_RETRY_SECONDS
            yield None
            try:
                async for event in _until_closed(queue):
                    yield event
            finally:
                await asyncio.to_thread(_close, connection)

    async def _connect(self, queue: "asyncio.Queue[DomainEvent | None]") -> Any:
        loop = asyncio.get_running_loop()

        def put(event: DomainEvent | None) -> None:
            if queue.full():
                queue.get_nowait()
                event = None  # what was dropped is found by starting again
            queue.put_nowait(event)

        def said(connection: Any, domain: Any, *rest: Any) -> None:
            uuid = UUID(bytes=domain.UUID())
            loop.call_soon_threadsafe(put, DomainEvent(uuid, rest[-1]))

        def closed(connection: Any, reason: int, opaque: Any) -> None:
            loop.call_soon_threadsafe(put, None)

        def open_connection() -> Any:
            ensure_event_loop()
            try:
                connection = libvirt.open(self.uri)
            except libvirt.libvirtError:
                return None
            try:
                connection.setKeepAlive(*KEEPALIVE)
                connection.registerCloseCallback(closed, None)
            except libvirt.libvirtError:
                pass  # the in-process mock driver has neither
            for number, what in _WATCHED.items():
                connection.domainEventRegisterAny(None, number, said, what)
            return connection

        return await asyncio.to_thread(open_connection)


async def _until_closed(queue: "asyncio.Queue[DomainEvent | None]") -> AsyncIterator[DomainEvent]:
    """Yield events until the connection says that it is closed."""
    while (event := await queue.get()) is not None:
        yield event


def _close(connection: Any) -> None:
    try:
        connection.close()
    except libvirt.libvirtError:
        return  # it was broken already
