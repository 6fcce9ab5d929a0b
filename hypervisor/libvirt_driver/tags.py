"""The owner tags of domains, remembered: reading one is a round trip, a listing needs all of them."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import libvirt

from hypervisor.domain_xml import OWNER_NAMESPACE, parse_owner
from hypervisor.errors import BadSpec
from hypervisor.specs import OwnerTag
from hypervisor.xml_text import from_text

from .connection import Connection
from .link import Link

_FORGET_ON = (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE)


class TagCache:
    """Owner tags by UUID, forgotten at any event that may have changed them, and all when the events are lost."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._listening = threading.Lock()
        self._listener: Connection | None = None
        self._tags: dict[UUID, tuple[str, OwnerTag | None]] = {}
        self._changes = 0

    def listen(self) -> None:
        """Call it before a listing: events are heard on a connection of their own."""
        with self._listening:
            if self._listener is not None:
                if self._listener.alive():
                    return
                self._listener.close(0)
                self._listener = None
            listener = self._link.open()
            try:
                for event in _FORGET_ON:
                    listener.on_event(event, self._on_event)
            except libvirt.libvirtError:
                listener.close(0)
                raise
            with self._lock:
                self._changes += 1
                self._tags.clear()
            self._listener = listener

    def tag(self, uuid: UUID, name: str, read: Callable[[], OwnerTag | None]) -> OwnerTag | None:
        """The tag of a domain; None when it has none."""
        with self._lock:
            changes, known = self._changes, self._tags.get(uuid)
        if known is not None and known[0] == name:
            return known[1]
        tag = read()
        with self._lock:
            if changes == self._changes:  # else it may have changed after it was read
                self._tags[uuid] = (name, tag)
        return tag

    def forget(self, uuid: UUID) -> None:
        """Reads this domain's tag anew the next time."""
        with self._lock:
            self._changes += 1
            self._tags.pop(uuid, None)

    def keep_only(self, uuids: set[UUID]) -> None:
        """Forgets the domains that are no more."""
        with self._lock:
            self._tags = {uuid: known for uuid, known in self._tags.items() if uuid in uuids}

    def close(self) -> None:
        """Stops listening."""
        with self._listening:
            if self._listener is not None:
                self._listener.close()
            self._listener = None

    def _on_event(self, _conn: Any, domain: Any, *_details: object) -> None:
        self.forget(UUID(bytes=domain.UUID()))


def read_tag(domain: Any) -> OwnerTag | None:
    """The owner tag in a libvirt domain's metadata; None when it has none or it is unreadable."""
    try:
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, OWNER_NAMESPACE)
        return parse_owner(from_text(text))
    except BadSpec:
        return None
    except libvirt.libvirtError as error:
        if error.get_error_code() in {libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN}:
            return None
        raise
