"""The contract with a hypervisor, on one screen. `libvirt_driver` and `fake` both keep it (tests/contract/).

Every method blocks, may be called from any thread, and raises `hypervisor.errors`. `ensure_*` and `remove_*`
look before they act: calling them twice does the work once, and absence is success for `remove_*`.
Power verbs on a domain that is already there (start a running one) raise `WrongState`; on none, `NotFound`.
"""

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any, Protocol
from uuid import UUID

from .specs import (
    DomainFacts,
    DomainSpec,
    DomainState,
    FirewallSpec,
    FrozenFacts,
    HostFacts,
    Identity,
    NetworkSpec,
    PoolFacts,
    PoolSpec,
    SeedSpec,
    VolumeFacts,
    VolumeSpec,
)


class Hypervisor(Protocol):
    def host(self) -> HostFacts: ...
    def close(self) -> None: ...

    # storage: sizes in bytes; grow_volume never shrinks (BadSpec)
    def ensure_pool(self, spec: PoolSpec) -> PoolFacts: ...
    def remove_pool(self, name: str) -> None: ...
    def pool(self, name: str) -> PoolFacts: ...
    def volumes(self, pool: str) -> list[VolumeFacts]: ...
    def volume(self, pool: str, name: str) -> VolumeFacts | None: ...
    def ensure_volume(self, spec: VolumeSpec) -> VolumeFacts: ...
    def grow_volume(self, pool: str, name: str, size_bytes: int) -> VolumeFacts: ...
    def ensure_seed(self, pool: str, name: str, spec: SeedSpec) -> VolumeFacts: ...
    def remove_volume(self, pool: str, name: str) -> None: ...

    # network: one DHCP host entry per card
    def ensure_network(self, spec: NetworkSpec) -> None: ...
    def remove_network(self, name: str, filter_name: str) -> None: ...
    def ensure_address(self, network: str, mac: str, address: str) -> None: ...
    def remove_address(self, network: str, mac: str) -> None: ...
    def addresses(self, network: str) -> dict[str, str]: ...  # mac -> address
    def admitted(self, network: str) -> dict[str, str]: ...  # mac -> the address that its filter lets it send from
    def ensure_firewall(self, spec: FirewallSpec) -> None: ...  # replaces one of that name in one step
    def remove_firewall(self, name: str) -> None: ...

    # domains: `domains` is one bulk call and returns those tagged with the installation id
    def domains(self, installation_id: str) -> list[DomainFacts]: ...
    def domain(self, uuid: UUID) -> DomainFacts | None: ...
    def state(self, uuid: UUID) -> DomainState | None: ...  # of `domain` the state alone, for a third of its cost
    def define(self, spec: DomainSpec) -> None: ...  # also redefines one that is off; WrongState if active and other
    def undefine(self, uuid: UUID) -> None: ...  # absence is success; WrongState while active
    def start(self, uuid: UUID) -> None: ...  # from stopped, suspended and crashed
    def shutdown(self, uuid: UUID) -> None: ...  # asks the guest (ACPI); returns at once
    def force_off(self, uuid: UUID) -> None: ...
    def reboot(self, uuid: UUID) -> None: ...  # asks the guest; returns at once
    def reset(self, uuid: UUID) -> None: ...  # the reset button
    def pause(self, uuid: UUID) -> None: ...
    def resume(self, uuid: UUID) -> None: ...
    def save(self, uuid: UUID) -> None: ...  # pauses to disk: `suspended`; absence of a QEMU is success if saved
    # devices that none of these disks and cards is, nor anything else that `define` gives: "hostdev", "disk /dev/sda"
    def foreign_devices(self, uuid: UUID, disks: Collection[PurePosixPath], macs: Collection[str]) -> list[str]: ...
    def disk_paths(self, uuid: UUID) -> list[PurePosixPath]: ...
    def own_memory(self, uuid: UUID) -> int | None: ...  # bytes of its QEMU that no other has; None where unknown

    # clones: a domain defined with `memory` is frozen into a folder, and clones wake up where it was frozen.
    # freeze: running or paused -> files in the folder, the domain undefined, its disk moved there.
    # clone: a paused, persistent domain; its volume is there already, made on the frozen disk. A half made one is made
    # anew, a complete one is left alone (paused or running); WrongState when it is off: its disk may be ahead.
    def fingerprint(self) -> str: ...  # frozen domains fit only hosts with an equal one
    def freeze(self, uuid: UUID, folder: PurePosixPath) -> FrozenFacts: ...
    def frozen(self, folder: PurePosixPath) -> FrozenFacts | None: ...  # None while incomplete
    def remove_frozen(self, folder: PurePosixPath) -> None: ...  # clones that run live on; their disks need it no less
    def clone(self, spec: DomainSpec, folder: PurePosixPath, share_ram: bool) -> None: ...
    def identify(self, uuid: UUID, identity: Identity, timeout_seconds: float = 20) -> None: ...  # AgentUnavailable

    # the guest: answers are capped (64 KiB) and time-limited; AgentUnavailable
    def agent(
        self, uuid: UUID, command: str, arguments: dict[str, Any] | None = None, timeout_seconds: int = 5
    ) -> Any: ...

    # consoles
    def screenshot(self, uuid: UUID) -> bytes: ...  # PNG
    def open_graphics(self, uuid: UUID) -> int: ...  # a connected VNC socket's descriptor; the caller closes it
