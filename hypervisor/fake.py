"""A hypervisor that is not there: the same contract in memory, for tests and for trying the portal without KVM.

It can be told to misbehave: refuse the next call of a verb, be away, have guests that ignore a shutdown or never
answer. With a path, several processes share one fake host through that file, under a lock.
"""

import io
import socket
from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from PIL import Image

from . import errors
from .dhcp_hosts import entry_name
from .fake_calls import ACTIVE, CRASHED, PAUSED, RUNNING, in_state
from .fake_clones import FakeClones
from .fake_host import FakeDomain, FakeNetwork, FakePool, FakeVolume
from .seed import build_seed
from .specs import (
    DomainFacts,
    DomainSpec,
    DomainState,
    HostFacts,
    NetworkSpec,
    PoolFacts,
    PoolSpec,
    SeedSpec,
    VolumeFacts,
    VolumeSpec,
)
from .volume_xml import check_name

CAPACITY = 500 * 2**30
OVERLAY_BYTES = 200_000


class FakeHypervisor(FakeClones):
    """See `hypervisor.api.Hypervisor` for what each method promises."""

    # --- host and storage -------------------------------------------------------------------------------------
    def host(self) -> HostFacts:
        with self._call("host"):
            return HostFacts(
                hostname="fake", vcpus=64, memory_mib=2**20, memory_free_mib=2**19, arch="x86_64", cpu_model="fake",
                cpu_flags=frozenset({"sse2"}), virt_types=frozenset({"qemu"}), hypervisor_version="fake 1",
                library_version="fake 1", addresses=("192.0.2.7",),
            )  # fmt: skip

    def close(self) -> None:
        """Nothing is held open."""

    def ensure_pool(self, spec: PoolSpec) -> PoolFacts:
        with self._call("ensure_pool") as host:
            found = host.pools.setdefault(spec.name, FakePool(spec))
            if found.spec != spec:
                raise errors.AlreadyExists(f"the pool {spec.name} is in another folder")
            return _pool_facts(found)

    def remove_pool(self, name: str) -> None:
        with self._call("remove_pool") as host:
            host.pools.pop(name, None)

    def pool(self, name: str) -> PoolFacts:
        with self._call("pool") as host:
            return _pool_facts(host.pool(name))

    def volumes(self, pool: str) -> list[VolumeFacts]:
        with self._call("volumes") as host:
            return [_volume_facts(pool, volume) for volume in host.pool(pool).volumes.values()]

    def volume(self, pool: str, name: str) -> VolumeFacts | None:
        with self._call("volume") as host:
            found = host.pool(pool).volumes.get(check_name(name))
            return _volume_facts(pool, found) if found else None

    def ensure_volume(self, spec: VolumeSpec) -> VolumeFacts:
        with self._call("ensure_volume") as host:
            pool = host.pool(spec.pool)
            volume = FakeVolume(check_name(spec.name), pool.spec.path / spec.name, spec.size_bytes, spec.base_path)
            found = pool.volumes.setdefault(spec.name, volume)
            if found.capacity_bytes < spec.size_bytes or found.base_path != spec.base_path:
                raise errors.AlreadyExists(f"the volume {spec.name} is another one")
            return _volume_facts(spec.pool, found)

    def grow_volume(self, pool: str, name: str, size_bytes: int) -> VolumeFacts:
        with self._call("grow_volume") as host:
            found = host.pool(pool).volumes.get(name)
            if found is None:
                raise errors.NotFound(f"volume {name}")
            if size_bytes < found.capacity_bytes:
                raise errors.BadSpec("a volume never shrinks")
            found.capacity_bytes = size_bytes
            return _volume_facts(pool, found)

    def ensure_seed(self, pool: str, name: str, spec: SeedSpec) -> VolumeFacts:
        with self._call("ensure_seed") as host:
            holder = host.pool(pool)
            volume = FakeVolume(check_name(name), holder.spec.path / name, len(build_seed(spec)), seed=spec)
            holder.volumes[name] = volume
            return _volume_facts(pool, volume)

    def remove_volume(self, pool: str, name: str) -> None:
        with self._call("remove_volume") as host:
            host.pool(pool).volumes.pop(check_name(name), None)

    # --- network ----------------------------------------------------------------------------------------------
    def ensure_network(self, spec: NetworkSpec) -> None:
        with self._call("ensure_network") as host:
            found = host.networks.setdefault(spec.name, FakeNetwork(spec))
            if found.spec != spec:
                if any(domain.active and _has_card_on(domain, spec.name) for domain in host.domains.values()):
                    raise errors.AlreadyExists(f"the network {spec.name} is in use and differs")
                found.spec = spec
            found.admit()

    def remove_network(self, name: str, filter_name: str) -> None:
        with self._call("remove_network") as host:
            host.networks.pop(name, None)

    def ensure_address(self, network: str, mac: str, address: str) -> None:
        with self._call("ensure_address") as host:
            given = host.network(network).addresses
            mac = mac.lower()
            entry_name(mac, address)
            if any(other == address and owner != mac for owner, other in given.items()):
                raise errors.AlreadyExists(f"the address {address} belongs to another card")
            given[mac] = address
            host.network(network).admit()

    def remove_address(self, network: str, mac: str) -> None:
        with self._call("remove_address") as host:
            for known in (host.network(network).addresses, host.network(network).guests):
                known.pop(mac.lower(), None)

    def addresses(self, network: str) -> dict[str, str]:
        with self._call("addresses") as host:
            return dict(host.network(network).addresses)

    def admitted(self, network: str) -> dict[str, str]:
        with self._call("admitted") as host:
            cards = [nic for domain in host.domains.values() if domain.active for nic in domain.spec.nics]
            filtered = {nic.mac: nic.address for nic in cards if nic.network == network and nic.filter_name}
            return filtered | host.network(network).guests

    # --- domains ----------------------------------------------------------------------------------------------
    def domains(self, installation_id: str) -> list[DomainFacts]:
        with self._call("domains") as host:
            return [
                _facts(domain)
                for domain in host.domains.values()
                if domain.spec.owner.installation_id == installation_id
            ]

    def domain(self, uuid: UUID) -> DomainFacts | None:
        with self._call("domain") as host:
            found = host.domains.get(uuid)
            return _facts(found) if found else None

    def state(self, uuid: UUID) -> DomainState | None:
        with self._call("state") as host:
            found = host.domains.get(uuid)
            return found.state if found else None

    def define(self, spec: DomainSpec) -> None:
        with self._call("define") as host:
            found = host.domains.get(spec.uuid)
            if found and found.spec == spec and not found.foreign:
                return
            if found and found.active:
                raise errors.WrongState("the domain is active")
            if any(other.spec.name == spec.name and uuid != spec.uuid for uuid, other in host.domains.items()):
                raise errors.AlreadyExists(f"the name {spec.name} belongs to another domain")
            if found:
                found.spec, found.foreign = spec, ()
            else:
                host.domains[spec.uuid] = FakeDomain(spec)
        self._tell(spec.uuid, "defined")

    def undefine(self, uuid: UUID) -> None:
        with self._call("undefine") as host:
            found = host.domains.get(uuid)
            if found and found.active:
                raise errors.WrongState("the domain is active")
            host.domains.pop(uuid, None)
        self._tell(uuid, "undefined")

    def start(self, uuid: UUID) -> None:
        legal = (DomainState.STOPPED, DomainState.SUSPENDED, CRASHED)
        with self._change("start", uuid, legal, RUNNING) as domain:
            domain.boots += 1

    def shutdown(self, uuid: UUID) -> None:
        with self._call("shutdown") as host:
            domain = in_state(host, uuid, RUNNING)
            obeys = uuid not in host.deaf
            if obeys:
                domain.state, domain.reason = DomainState.STOPPED, "shutdown"
        if obeys:
            self._tell(uuid, "lifecycle")

    def force_off(self, uuid: UUID) -> None:
        with self._change("force_off", uuid, ACTIVE, DomainState.STOPPED) as domain:
            domain.reason = "destroyed"

    def reboot(self, uuid: UUID) -> None:
        with self._call("reboot") as host:
            domain = in_state(host, uuid, RUNNING)
            domain.boots += uuid not in host.deaf
        self._tell(uuid, "reboot")

    def reset(self, uuid: UUID) -> None:
        with self._call("reset") as host:
            in_state(host, uuid, RUNNING, PAUSED).boots += 1
        self._tell(uuid, "reboot")

    def pause(self, uuid: UUID) -> None:
        with self._change("pause", uuid, (RUNNING,), PAUSED) as domain:
            domain.reason = "user"

    def resume(self, uuid: UUID) -> None:
        with self._change("resume", uuid, (PAUSED,), RUNNING):
            pass

    def disk_paths(self, uuid: UUID) -> list[PurePosixPath]:
        with self._call("disk_paths") as host:
            spec = host.domain(uuid).spec
            return [disk.path for disk in spec.disks] + ([spec.seed_path] if spec.seed_path else [])

    def foreign_devices(self, uuid: UUID, disks: Collection[PurePosixPath], macs: Collection[str]) -> list[str]:
        with self._call("foreign_devices") as host:
            domain = host.domain(uuid)
            found = {f"interface {nic.mac}" for nic in domain.spec.nics if nic.mac.lower() not in macs}
            paths = [disk.path for disk in domain.spec.disks] + [p for p in [domain.spec.seed_path] if p]
            return sorted({*domain.foreign, *found, *(f"disk {path}" for path in paths if path not in disks)})

    # --- guest and consoles -----------------------------------------------------------------------------------
    def agent(self, uuid: UUID, command: str, arguments: dict[str, Any] | None = None, timeout_seconds: int = 5) -> Any:
        with self._call("agent") as host:
            domain = host.domain(uuid)
            if domain.state is not RUNNING or uuid in host.mute:
                raise errors.AgentUnavailable("the guest does not answer")
            answers: dict[str, Any] = {
                "guest-file-open": 1000,
                "guest-file-read": {"count": 4, "buf-b64": f"Ym9vdA{domain.boots}", "eof": True},
                "guest-exec": {"pid": 7},
                "guest-exec-status": {"exited": True, "exitcode": host.exit_code, "out-data": host.said_base64},
            }
            return answers.get(command, {})

    def screenshot(self, uuid: UUID) -> bytes:
        with self._call("screenshot") as host:
            in_state(host, uuid, *ACTIVE)
        picture = io.BytesIO()
        Image.new("RGB", (720, 400), (0, 0, 0)).save(picture, "PNG")
        return picture.getvalue()

    def open_graphics(self, uuid: UUID) -> int:
        """Return one end of a socket pair whose other end greets as a VNC server would and then closes."""
        with self._call("open_graphics") as host:
            in_state(host, uuid, *ACTIVE)
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(b"RFB 003.008\n")
        return ours.detach()


def _has_card_on(domain: FakeDomain, network: str) -> bool:
    return any(nic.network == network for nic in domain.spec.nics)


def _pool_facts(pool: FakePool) -> PoolFacts:
    used = OVERLAY_BYTES * len(pool.volumes)
    return PoolFacts(pool.spec.name, pool.spec.path, CAPACITY, CAPACITY - used, active=True)


def _volume_facts(pool: str, volume: FakeVolume) -> VolumeFacts:
    return VolumeFacts(pool, volume.name, volume.path, volume.capacity_bytes, OVERLAY_BYTES, volume.whole)


def _facts(domain: FakeDomain) -> DomainFacts:
    spec = domain.spec
    facts = DomainFacts(spec.uuid, spec.name, domain.state, domain.reason)
    return replace(facts, owner=spec.owner, vcpus=spec.vcpus, memory_mib=spec.memory_mib, persistent=domain.persistent)
