"""The hypervisor as libvirt: specs to libvirt, facts back. This package and `libvirt_events` alone import libvirt."""

from .guests import GuestVerbs
from .networks import NetworkVerbs
from .storage import StorageVerbs

__all__ = ["LibvirtHypervisor"]


class LibvirtHypervisor(GuestVerbs, NetworkVerbs, StorageVerbs):
    """`hypervisor.api.Hypervisor` over one libvirt URI; see there. It connects at the first call."""
