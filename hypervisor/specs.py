"""What the layers above ask of a hypervisor and what it reports: frozen data, no policy, no XML.

Units stand in the names. Names of objects are made by the callers, from the installation id and UUIDs; text
that a tenant typed never enters a spec that becomes XML. The only tenant text here is `SeedSpec.user_data` and its
companions, which become the content of files in an ISO image.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from uuid import UUID


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
    """A hypervisor host. `virt_types` holds "kvm" only where capabilities *and* CPU flags offer it."""

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
class NetworkSpec:
    """A NAT network of ours with DHCP by host entries, STP off, and the anti-spoofing filter `filter_name`.

    `hosts_dir` is the folder of the DHCP host entries, made if it is missing; dnsmasq's user must be able to reach it.
    """

    name: str
    uuid: UUID
    bridge: str
    gateway: str
    prefix_length: int
    dhcp_first: str
    dhcp_last: str
    filter_name: str
    filter_uuid: UUID
    hosts_dir: PurePosixPath
    domain: str = "slipway.internal"


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
    """`format` is what the pool's own record says, never the result of probing a guest-writable file."""

    pool: str
    name: str
    path: PurePosixPath
    capacity_bytes: int
    allocation_bytes: int


@dataclass(frozen=True, slots=True)
class SeedSpec:
    """The three files of a NoCloud seed (docs/images.md). `password_hash` is a crypt(3) string."""

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
    beneath it.
    """

    path: PurePosixPath
    index: int = 0
    base_path: PurePosixPath | None = None
    base_format: str = "qcow2"


@dataclass(frozen=True, slots=True)
class NicSpec:
    """A virtio card on one of our networks; the filter is given the address, so none has to be learnt."""

    network: str
    mac: str
    address: str
    filter_name: str


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """The whole hardware of a domain. `serial_socket` is made by libvirt and held by the gateway.

    `cpu` is "maximum" (under KVM the host's own CPU), "host-passthrough" or the name of a CPU model.
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


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """A hint that something happened to a domain; the receiver reads the state again."""

    uuid: UUID
    what: str
