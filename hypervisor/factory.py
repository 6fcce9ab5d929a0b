"""Opening the hypervisor that a URI names. libvirt is imported only where it is asked for."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from .api import Hypervisor
from .specs import DomainEvent


class Events(Protocol):
    """A source of hints: domain events, and None whenever its connection came or went: compare everything then."""

    def listen(self) -> AsyncIterator[DomainEvent | None]: ...


class _NoEvents:
    """The fake host's events across processes: one connect, then silence. The full comparison finds the rest."""

    async def listen(self) -> AsyncIterator[DomainEvent | None]:
        yield None
        await asyncio.Event().wait()


def open_hypervisor(uri: str) -> Hypervisor:
    """Return the hypervisor: `fake:` in memory, `fake:///path` shared by processes, else libvirt's URI."""
    if uri.startswith("fake:"):
        from .fake import FakeHypervisor

        return FakeHypervisor(uri.removeprefix("fake:").removeprefix("//") or None)
    from .libvirt_driver import LibvirtHypervisor

    return LibvirtHypervisor(uri)


def open_events(uri: str) -> Events:
    """Return the event source that belongs to `open_hypervisor(uri)`."""
    if uri.startswith("fake:"):
        return _NoEvents()
    from .libvirt_events import DomainEvents

    return DomainEvents(uri)
