"""What the layers above ask of a hypervisor and what it reports: frozen data, no policy, no XML.

Units stand in the names. Names of objects are made by the callers, from the installation id and UUIDs; text
that a tenant typed never enters a spec that becomes XML. The only tenant text here is `SeedSpec.user_data` and its
companions, which become the content of files in an ISO image.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from uuid import UUID

from .network_specs import BridgeRule, FirewallSpec, NetworkKind, NetworkSpec

__all__ = [
    "BridgeRule",
    "DiskSpec",
    "DomainEvent",
    "DomainFacts",
    "DomainSpec",
    "DomainState",
    "FirewallSpec",
    "FrozenFacts",
    "HostFacts",
    "HostKey",
    "Identity",
    "MemorySpec",
    "NetworkKind",
    "NetworkSpec",
    "NicSpec",
    "OwnerTag",
    "PoolFacts",
    "PoolSpec",
    "SeedSpec",
    "VolumeFacts",
    "VolumeSpec",
]


class DomainState(StrEnum):
    """What a domain is seen to be doing. `suspended` has its memory saved on disk (managed save).

    A `crashed` guest panicked: its processors stand still for good, its last screen can be seen, and it holds its
    memory until it is forced off or started again.
    """

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class OwnerTag:
    """Whose domain this is; written to the domain's metadata and read back from it."""

    installation_id: str
    vm_id: UUID


@dataclass(frozen=True, slots=True)
class DomainFacts:
    """One domain as libvirt reports it.

    `reason` is a short word of ours: "", "io_error", "crashed", "panicked", "shutdown", "destroyed", "user", ...
    `cpu_time_ns` and the byte counters are cumulative since the domain started; None where unknown.
    """

    uuid: UUID
    name: str
    state: DomainState
    reason: str = ""
    persistent: bool = True
    owner: OwnerTag | None = None
    vcpus: int = 0
    memory_mib: int = 0
    cpu_time_ns: int | None = None
    memory_used_mib: int | None = None
    disk_read_bytes: int | None = None
    disk_written_bytes: int | None = None
    net_received_bytes: int | None = None
    net_sent_bytes: int | None = None

    @property
    def active(self) -> bool:
        """Whether it has a QEMU, which holds its memory: all but stopped and suspended domains."""
        return self.state not in (DomainState.STOPPED, DomainState.SUSPENDED)


@dataclass(frozen=True, slots=True)
class HostFacts:
    """A hypervisor host. `virt_types` holds "kvm" only where capabilities *and* CPU flags offer it.

    `addresses` are its own, IPv4, without those of the loopback card.
    """

    hostname: str
    vcpus: int
    memory_mib: int
    memory_free_mib: int
    arch: str
    cpu_model: str
    cpu_flags: frozenset[str]
    virt_types: frozenset[str]
    hypervisor_version: str
    library_version: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """A storage pool of type dir. The folder is made if it is missing."""

    name: str
    path: PurePosixPath


@dataclass(frozen=True, slots=True)
class PoolFacts:
    name: str
    path: PurePosixPath
    capacity_bytes: int
    free_bytes: int
    active: bool


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """A qcow2 volume in a pool; with `base_path` a copy-on-write overlay on that read-only image."""

    pool: str
    name: str
    size_bytes: int
    base_path: PurePosixPath | None = None
    base_format: str = "qcow2"


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """`format` is what the pool's own record says, never the result of probing a guest-writable file.

    `whole` False: the file is shorter than its own header says, so somebody cut it off.
    """

    pool: str
    name: str
    path: PurePosixPath
    capacity_bytes: int
    allocation_bytes: int
    whole: bool = True

    def holds(self, size_bytes: int) -> bool:
        """Is it a disk of at least this size, all of it there? A file that was emptied has no size any more."""
        return self.whole and self.capacity_bytes >= size_bytes


@dataclass(frozen=True, slots=True)
class SeedSpec:
    """The three files of a NoCloud seed (docs/images.md). `password_hash` is a crypt(3) string.

    Without a `hostname` the guest keeps the one that is on its disk.
    """

    instance_id: UUID
    hostname: str
    ssh_keys: tuple[str, ...] = ()
    password_hash: str = field(default="", repr=False)
    user_data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """A virtio disk: a qcow2 file, `index` 0 is vda.

    `base_path` is the image that the volume was made on (`VolumeSpec.base_path`). It must be said here too, or the
    guest sees an empty disk: libvirt is told the whole chain, so that nothing ever asks a guest's file what lies
    beneath it. `below` are the images under `base_path`, the next one first: a clone's base is its template's disk, and
    that one's is the image (`FrozenFacts.disk_below`). All of these are qcow2.
    """

    path: PurePosixPath
    index: int = 0
    base_path: PurePosixPath | None = None
    base_format: str = "qcow2"
    below: tuple[PurePosixPath, ...] = ()


@dataclass(frozen=True, slots=True)
class NicSpec:
    """A virtio card on one of our networks; the filter is given the address, so none has to be learnt.

    `filter_name` "", and then `address` too: the network's guard knows the card, from `ensure_address`. `linked` False:
    the card is there, plugged into nothing and with its link down; `network`, `address` and `filter_name` are then "".
    """

    network: str
    mac: str
    address: str
    filter_name: str
    linked: bool = True


@dataclass(frozen=True, slots=True)
class MemorySpec:
    """The guest's RAM as a file, for a domain that is to be frozen: the file "ram" in its folder."""

    path: PurePosixPath


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """The whole hardware of a domain. Its sockets are made by libvirt.

    `serial_socket` is held by the gateway. `identity_socket` and `run_socket` are the host's ends of the channels
    org.slipway.identity.0 and org.slipway.run.0; None: no such channel. A clone has those of its template. `memory` is
    for a domain that will be frozen. `cpu` is "maximum" (under KVM the host's own CPU), "host-passthrough" or the name
    of a CPU model.
    """

    uuid: UUID
    name: str
    owner: OwnerTag
    vcpus: int
    memory_mib: int
    disks: tuple[DiskSpec, ...]
    nics: tuple[NicSpec, ...]
    serial_socket: PurePosixPath
    seed_path: PurePosixPath | None = None
    virt_type: str = "qemu"
    cpu: str = "maximum"
    arch: str = "x86_64"
    machine: str = "q35"
    memory: MemorySpec | None = None
    identity_socket: PurePosixPath | None = None
    run_socket: PurePosixPath | None = None


@dataclass(frozen=True, slots=True)
class FrozenFacts:
    """A frozen domain: the files `ram`, `state` and `disk.qcow2` in `folder`, and what they hold.

    Byte counts are what the files take on disk. `disk_below` are the images under `disk.qcow2` (`DiskSpec.below`).
    """

    folder: PurePosixPath
    memory_mib: int
    ram_bytes: int
    state_bytes: int
    disk_bytes: int
    fingerprint: str
    frozen_at: datetime
    disk_below: tuple[PurePosixPath, ...] = ()

    @property
    def disk(self) -> PurePosixPath:
        """The read-only image that the clones' volumes are made on."""
        return self.folder / "disk.qcow2"


@dataclass(frozen=True, slots=True)
class HostKey:
    """An SSH host key: `kind` "ed25519" or "rsa"; both parts as the files in /etc/ssh hold them."""

    kind: str
    private: bytes = field(repr=False)
    public: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a clone another machine than its template (docs/adr/0006).

    `seed`: 64 to 512 random bytes. `mac` "" leaves the card as it is; `gateway` "": none. `machine_id`: 32 hex digits.
    The clock is read when the identity is given.
    """

    seed: bytes = field(repr=False)
    mac: str
    address: str
    prefix_length: int
    gateway: str
    hostname: str
    machine_id: str
    ssh_keys: tuple[HostKey, ...] = ()


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """A hint that something happened to a domain; the receiver reads the state again."""

    uuid: UUID
    what: str
