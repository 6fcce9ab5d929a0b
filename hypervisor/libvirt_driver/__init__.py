"""The hypervisor as libvirt: specs to libvirt, facts back. This package and `libvirt_events` alone import libvirt."""

from .identifying import IdentifyVerbs
from .networks import NetworkVerbs
from .storage import StorageVerbs

__all__ = ["LibvirtHypervisor"]


class LibvirtHypervisor(IdentifyVerbs, NetworkVerbs, StorageVerbs):
    """`hypervisor.api.Hypervisor` over one libvirt URI; see there. It connects at the first call."""
