"""libvirt's domain events for asyncio: hints about what to read again, for as long as somebody listens.

They arrive in the thread of libvirt's event loop and are handed over to the listener's loop, so they work with any
loop, and a busy one costs no connection. Events get lost (a libvirtd that restarts sends none for what happened
meanwhile), hence the None after each connect and each loss: compare everything then.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import libvirt

from .errors import Unavailable
from .libvirt_driver.connection import Connection
from .libvirt_driver.link import Link
from .specs import DomainEvent

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 5.0

_LIFECYCLE = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: "defined",
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "undefined",
    libvirt.VIR_DOMAIN_EVENT_STARTED: "started",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "paused",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: "shutting_down",
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: "guest_sleep",
    libvirt.VIR_DOMAIN_EVENT_CRASHED: "crashed",
}
_AGENT = {
    libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED: "agent_connected",
    libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_DISCONNECTED: "agent_disconnected",
}
_OTHERS = {
    libvirt.VIR_DOMAIN_EVENT_ID_REBOOT: "reboot",
    libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG: "watchdog",
    libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON: "io_error",
    libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE: "metadata",
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED: "device",
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED: "device",
}


class DomainEvents:
    """The events of all domains behind one URI."""

    def __init__(self, uri: str) -> None:
        self._link = Link(uri)
        self._connection: Connection | None = None

    async def listen(self) -> AsyncIterator[DomainEvent | None]:
        """Yields events as they come, and None whenever the connection came or went. Never ends by itself."""
        wait_seconds = FIRST_WAIT_SECONDS
        try:
            while True:
                try:
                    inbox = await asyncio.to_thread(self._subscribe, asyncio.get_running_loop())
                except (Unavailable, libvirt.libvirtError):
                    self._close()
                    await asyncio.sleep(wait_seconds)
                    wait_seconds = min(wait_seconds * 2, LONGEST_WAIT_SECONDS)
                    continue
                wait_seconds = FIRST_WAIT_SECONDS
                yield None
                while (event := await inbox.next()) is not None:
                    yield event
                yield None
                self._close()
        finally:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(0)

    def _subscribe(self, loop: asyncio.AbstractEventLoop) -> "_Inbox":
        """Blocking: connects and registers for everything."""
        self._connection = self._link.open()
        inbox = _Inbox(loop)
        self._connection.libvirt.registerCloseCallback(inbox.on_close, None)
        self._connection.on_event(libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, inbox.on_lifecycle)
        for event, what in _OTHERS.items():
            self._connection.on_event(event, inbox.on_event, what)
        self._connection.on_event(libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, inbox.on_agent)
        return inbox


class _Inbox:
    """What libvirt's thread puts in and the listener takes out. Equal events that wait count once: a flood stays small.

    The `on_` methods are called in libvirt's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[DomainEvent, None] = {}
        self._closed = False
        self._news = asyncio.Event()

    async def next(self) -> DomainEvent | None:
        """The next event; None when the connection is lost."""
        while not self._waiting:
            if self._closed:
                return None
            self._news.clear()
            await self._news.wait()
        event = next(iter(self._waiting))
        del self._waiting[event]
        return event

    def on_lifecycle(self, _conn: Any, domain: Any, event: int, _detail: int, _opaque: object) -> None:
        """A domain came, went, or changed its state."""
        self._put(domain, _LIFECYCLE.get(event, "lifecycle"))

    def on_agent(self, _conn: Any, domain: Any, state: int, _reason: int, _opaque: object) -> None:
        """A guest agent came or went."""
        self._put(domain, _AGENT.get(state, "agent"))

    def on_event(self, _conn: Any, domain: Any, *rest: Any) -> None:
        """Something of `_OTHERS`, whose word is the last argument."""
        self._put(domain, rest[-1])

    def on_close(self, _conn: Any, _reason: int, _opaque: object) -> None:
        """The connection is lost."""
        self._hand_over(None)

    def _put(self, domain: Any, what: str) -> None:
        self._hand_over(DomainEvent(UUID(bytes=domain.UUID()), what))

    def _hand_over(self, event: DomainEvent | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._receive, event)

    def _receive(self, event: DomainEvent | None) -> None:
        if event is None:
            self._closed = True
        else:
            self._waiting[event] = None
        self._news.set()
