"""The owner tags of domains, remembered: reading one is a round trip, a listing needs all of them."""

import threading
from typing import Any
from uuid import UUID

import libvirt

from hypervisor.domain_xml import OWNER_NAMESPACE, parse_owner
from hypervisor.errors import BadSpec
from hypervisor.specs import OwnerTag
from hypervisor.xml_text import from_text

_FORGET_ON = (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE)


class TagCache:
    """Owner tags by UUID, for the life of one connection; forgotten at any event that may have changed them."""

    def __init__(self, conn: Any) -> None:
        self._lock = threading.Lock()
        self._tags: dict[UUID, tuple[str, OwnerTag | None]] = {}
        for event in _FORGET_ON:
            conn.domainEventRegisterAny(None, event, self._on_event, None)

    def tag(self, domain: Any) -> OwnerTag | None:
        """The tag of a libvirt domain; None when it has none."""
        uuid, name = UUID(bytes=domain.UUID()), domain.name()
        with self._lock:
            known = self._tags.get(uuid)
        if known is not None and known[0] == name:
            return known[1]
        tag = read_tag(domain)
        with self._lock:
            self._tags[uuid] = (name, tag)
        return tag

    def forget(self, uuid: UUID) -> None:
        """Reads this domain's tag anew the next time."""
        with self._lock:
            self._tags.pop(uuid, None)

    def keep_only(self, uuids: set[UUID]) -> None:
        """Forgets the domains that are no more."""
        with self._lock:
            self._tags = {uuid: known for uuid, known in self._tags.items() if uuid in uuids}

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
