"""A hypervisor that is not there: the same contract in memory, for tests and for trying the portal without KVM.

It can be told to misbehave: refuse the next call of a verb, be away, have guests that ignore a shutdown or never
answer. With a path, several processes share one fake host through that file, under a lock.
"""

import fcntl
import io
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

from PIL import Image

from . import errors
from .specs import (
    DomainEvent,
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

Listener = Callable[[DomainEvent], None]
ACTIVE = (DomainState.RUNNING, DomainState.PAUSED)
CAPACITY = 500 * 2**30
OVERLAY_BYTES = 200_000


@dataclass
class FakeDomain:
    spec: DomainSpec
    state: DomainState = DomainState.STOPPED
    reason: str = ""
    boots: int = 0


@dataclass
class FakeVolume:
    name: str
    path: PurePosixPath
    capacity_bytes: int
    base_path: PurePosixPath | None = None
    seed: SeedSpec | None = None


@dataclass
class FakePool:
    spec: PoolSpec
    volumes: dict[str, FakeVolume] = field(default_factory=dict)


@dataclass
class FakeNetwork:
    spec: NetworkSpec
    addresses: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeHost:
    """Everything that the fake host remembers, and how it was told to behave."""

    pools: dict[str, FakePool] = field(default_factory=dict)
    networks: dict[str, FakeNetwork] = field(default_factory=dict)
    domains: dict[UUID, FakeDomain] = field(default_factory=dict)
    failures: dict[str, list[errors.HypervisorError]] = field(default_factory=dict)
    away: bool = False
    deaf: set[UUID] = field(default_factory=set)  # guests that ignore ACPI
    mute: set[UUID] = field(default_factory=set)  # guests whose agent never answers
    calls: list[str] = field(default_factory=list)


class FakeHypervisor:
    """See `hypervisor.api.Hypervisor` for what each method promises."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = Path(path) if path else None
        self._host = FakeHost()
        self._lock = threading.RLock()
        self.listeners: list[Listener] = []
        self.drop_events = False

    # --- telling it how to behave -----------------------------------------------------------------------------
    def fail_next(self, verb: str, error: errors.HypervisorError, times: int = 1) -> None:
        """Make the next `times` calls of a verb raise `error` before they do anything."""
        with self._open() as host:
            host.failures.setdefault(verb, []).extend([error] * times)

    def set_away(self, away: bool) -> None:
        """Make every call raise Unavailable, or answer again."""
        with self._open() as host:
            host.away = away

    def set_deaf(self, uuid: UUID, deaf: bool = True) -> None:
        """Make the guest ignore shutdown and reboot requests."""
        with self._open() as host:
            (host.deaf.add if deaf else host.deaf.discard)(uuid)

    def set_mute(self, uuid: UUID, mute: bool = True) -> None:
        """Make the guest's agent never answer."""
        with self._open() as host:
            (host.mute.add if mute else host.mute.discard)(uuid)

    def happen(self, uuid: UUID, state: DomainState, reason: str = "") -> None:
        """Let something happen to a domain behind our back, with its event."""
        with self._open() as host:
            domain = self._domain(host, uuid)
            domain.state, domain.reason = state, reason
        self._tell(uuid, "lifecycle")

    def vanish(self, uuid: UUID) -> None:
        """Undefine a domain behind our back."""
        with self._open() as host:
            host.domains.pop(uuid, None)
        self._tell(uuid, "undefined")

    def lose_volume(self, pool: str, name: str) -> None:
        """Delete a file from a pool behind our back."""
        with self._open() as host:
            host.pools[pool].volumes.pop(name, None)

    def seed_of(self, pool: str, name: str) -> SeedSpec | None:
        """Return what a seed was made from."""
        with self._open() as host:
            volume = host.pools[pool].volumes.get(name)
            return volume.seed if volume else None

    @property
    def calls(self) -> list[str]:
        """The verbs that changed something, in order."""
        with self._open() as host:
            return list(host.calls)

    # --- host and storage -------------------------------------------------------------------------------------
    def host(self) -> HostFacts:
        with self._call("host"):
            return HostFacts(
                hostname="fake", vcpus=64, memory_mib=2**20, memory_free_mib=2**19, arch="x86_64", cpu_model="fake",
                cpu_flags=frozenset({"sse2"}), virt_types=frozenset({"qemu"}), hypervisor_version="fake 1",
                library_version="fake 1",
            )  # fmt: skip

    def close(self) -> None:
        """Nothing is held open."""

    def ensure_pool(self, spec: PoolSpec) -> PoolFacts:
        with self._call("ensure_pool") as host:
            return self._pool_facts(host.pools.setdefault(spec.name, FakePool(spec)))

    def remove_pool(self, name: str) -> None:
        with self._call("remove_pool") as host:
            host.pools.pop(name, None)

    def pool(self, name: str) -> PoolFacts:
        with self._call("pool") as host:
            return self._pool_facts(self._pool(host, name))

    def volumes(self, pool: str) -> list[VolumeFacts]:
        with self._call("volumes") as host:
            return [self._volume_facts(pool, volume) for volume in self._pool(host, pool).volumes.values()]

    def volume(self, pool: str, name: str) -> VolumeFacts | None:
        with self._call("volume") as host:
            found = self._pool(host, pool).volumes.get(name)
            return self._volume_facts(pool, found) if found else None

    def ensure_volume(self, spec: VolumeSpec) -> VolumeFacts:
        with self._call("ensure_volume") as host:
            pool = self._pool(host, spec.pool)
            volume = FakeVolume(spec.name, pool.spec.path / spec.name, spec.size_bytes, spec.base_path)
            found = pool.volumes.setdefault(spec.name, volume)
            if found.capacity_bytes < spec.size_bytes or found.base_path != spec.base_path:
                raise errors.AlreadyExists(f"volume {spec.name} is another one")
            return self._volume_facts(spec.pool, found)

    def grow_volume(self, pool: str, name: str, size_bytes: int) -> VolumeFacts:
        with self._call("grow_volume") as host:
            found = self._pool(host, pool).volumes.get(name)
            if found is None:
                raise errors.NotFound(f"volume {name}")
            if size_bytes < found.capacity_bytes:
                raise errors.BadSpec("a volume never shrinks")
            found.capacity_bytes = size_bytes
            return self._volume_facts(pool, found)

    def ensure_seed(self, pool: str, name: str, spec: SeedSpec) -> VolumeFacts:
        with self._call("ensure_seed") as host:
            holder = self._pool(host, pool)
            volume = FakeVolume(name, holder.spec.path / name, 400_000, seed=spec)
            holder.volumes[name] = volume
            return self._volume_facts(pool, volume)

    def remove_volume(self, pool: str, name: str) -> None:
        with self._call("remove_volume") as host:
            self._pool(host, pool).volumes.pop(name, None)

    # --- network ----------------------------------------------------------------------------------------------
    def ensure_network(self, spec: NetworkSpec) -> None:
        with self._call("ensure_network") as host:
            host.networks.setdefault(spec.name, FakeNetwork(spec))

    def remove_network(self, name: str, filter_name: str) -> None:
        with self._call("remove_network") as host:
            host.networks.pop(name, None)

    def ensure_address(self, network: str, mac: str, address: str) -> None:
        with self._call("ensure_address") as host:
            given = self._network(host, network).addresses
            if any(other == address and owner != mac for owner, other in given.items()):
                raise errors.AlreadyExists(f"address {address} is taken")
            given[mac] = address

    def remove_address(self, network: str, mac: str) -> None:
        with self._call("remove_address") as host:
            self._network(host, network).addresses.pop(mac, None)

    def addresses(self, network: str) -> dict[str, str]:
        with self._call("addresses") as host:
            return dict(self._network(host, network).addresses)

    # --- domains ----------------------------------------------------------------------------------------------
    def domains(self, installation_id: str) -> list[DomainFacts]:
        with self._call("domains") as host:
            return [
                self._facts(domain)
                for domain in host.domains.values()
                if domain.spec.owner.installation_id == installation_id
            ]

    def domain(self, uuid: UUID) -> DomainFacts | None:
        with self._call("domain") as host:
            found = host.domains.get(uuid)
            return self._facts(found) if found else None

    def define(self, spec: DomainSpec) -> None:
        with self._call("define") as host:
            found = host.domains.get(spec.uuid)
            if found and found.state in ACTIVE:
                raise errors.WrongState("the domain is active")
            if any(other.spec.name == spec.name and uuid != spec.uuid for uuid, other in host.domains.items()):
                raise errors.AlreadyExists(f"name {spec.name} is taken")
            if found:
                found.spec = spec
            else:
                host.domains[spec.uuid] = FakeDomain(spec)
        self._tell(spec.uuid, "defined")

    def undefine(self, uuid: UUID) -> None:
        with self._call("undefine") as host:
            found = host.domains.get(uuid)
            if found and found.state in ACTIVE:
                raise errors.WrongState("the domain is active")
            host.domains.pop(uuid, None)
        self._tell(uuid, "undefined")

    def start(self, uuid: UUID) -> None:
        with self._change("start", uuid, tuple(set(DomainState) - set(ACTIVE)), DomainState.RUNNING) as domain:
            domain.boots += 1

    def shutdown(self, uuid: UUID) -> None:
        with self._call("shutdown") as host:
            domain = self._domain(host, uuid)
            if domain.state is not DomainState.RUNNING:
                raise errors.WrongState("the domain does not run")
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
            domain = self._domain(host, uuid)
            if domain.state is not DomainState.RUNNING:
                raise errors.WrongState("the domain does not run")
            domain.boots += uuid not in host.deaf
        self._tell(uuid, "reboot")

    def reset(self, uuid: UUID) -> None:
        with self._change("reset", uuid, ACTIVE, DomainState.RUNNING) as domain:
            domain.boots += 1

    def pause(self, uuid: UUID) -> None:
        with self._change("pause", uuid, (DomainState.RUNNING,), DomainState.PAUSED):
            pass

    def resume(self, uuid: UUID) -> None:
        with self._change("resume", uuid, (DomainState.PAUSED,), DomainState.RUNNING):
            pass

    def disk_paths(self, uuid: UUID) -> list[PurePosixPath]:
        with self._call("disk_paths") as host:
            return [disk.path for disk in self._domain(host, uuid).spec.disks]

    # --- guest and consoles -----------------------------------------------------------------------------------
    def agent(self, uuid: UUID, command: str, arguments: dict[str, Any] | None = None, timeout_seconds: int = 5) -> Any:
        with self._call("agent") as host:
            domain = self._domain(host, uuid)
            if domain.state is not DomainState.RUNNING or uuid in host.mute:
                raise errors.AgentUnavailable("the guest does not answer")
            answers: dict[str, Any] = {
                "guest-file-open": 1000,
                "guest-file-read": {"count": 4, "buf-b64": f"Ym9vdA{domain.boots}", "eof": True},
            }
            return answers.get(command, {})

    def screenshot(self, uuid: UUID) -> bytes:
        with self._call("screenshot") as host:
            if self._domain(host, uuid).state not in ACTIVE:
                raise errors.WrongState("the domain does not run")
        picture = io.BytesIO()
        Image.new("RGB", (720, 400), (0, 0, 0)).save(picture, "PNG")
        return picture.getvalue()

    def open_graphics(self, uuid: UUID) -> int:
        """Return one end of a socket pair whose other end greets as a VNC server would and then closes."""
        with self._call("open_graphics") as host:
            if self._domain(host, uuid).state not in ACTIVE:
                raise errors.WrongState("the domain does not run")
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(b"RFB 003.008\n")
        return ours.detach()

    # --- inside -----------------------------------------------------------------------------------------------
    @contextmanager
    def _open(self) -> Iterator[FakeHost]:
        """Give the host's state under the lock, read from and written to the shared file where there is one."""
        with self._lock:
            if self._path is None:
                yield self._host
                return
            with self._path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self._path.exists():
                    self._host = pickle.loads(self._path.read_bytes())  # noqa: S301 - a test's own file
                try:
                    yield self._host
                finally:
                    temporary = self._path.with_suffix(".new")
                    temporary.write_bytes(pickle.dumps(self._host))
                    temporary.replace(self._path)

    @contextmanager
    def _call(self, verb: str) -> Iterator[FakeHost]:
        with self._open() as host:
            if host.away:
                raise errors.Unavailable("the host is away")
            waiting = host.failures.get(verb)
            if waiting:
                raise waiting.pop(0)
            if verb not in _READS:
                host.calls.append(verb)
            yield host

    @contextmanager
    def _change(
        self, verb: str, uuid: UUID, legal: tuple[DomainState, ...], becomes: DomainState
    ) -> Iterator[FakeDomain]:
        with self._call(verb) as host:
            domain = self._domain(host, uuid)
            if domain.state not in legal:
                raise errors.WrongState(f"the domain is {domain.state}")
            domain.state, domain.reason = becomes, ""
            yield domain
        self._tell(uuid, "lifecycle")

    def _tell(self, uuid: UUID, what: str) -> None:
        if not self.drop_events:
            for listener in list(self.listeners):
                listener(DomainEvent(uuid, what))

    @staticmethod
    def _domain(host: FakeHost, uuid: UUID) -> FakeDomain:
        if uuid not in host.domains:
            raise errors.NotFound(f"domain {uuid}")
        return host.domains[uuid]

    @staticmethod
    def _pool(host: FakeHost, name: str) -> FakePool:
        if name not in host.pools:
            raise errors.NotFound(f"pool {name}")
        return host.pools[name]

    @staticmethod
    def _network(host: FakeHost, name: str) -> FakeNetwork:
        if name not in host.networks:
            raise errors.NotFound(f"network {name}")
        return host.networks[name]

    @staticmethod
    def _pool_facts(pool: FakePool) -> PoolFacts:
        used = OVERLAY_BYTES * len(pool.volumes)
        return PoolFacts(pool.spec.name, pool.spec.path, CAPACITY, CAPACITY - used, active=True)

    @staticmethod
    def _volume_facts(pool: str, volume: FakeVolume) -> VolumeFacts:
        return VolumeFacts(pool, volume.name, volume.path, volume.capacity_bytes, OVERLAY_BYTES)

    @staticmethod
    def _facts(domain: FakeDomain) -> DomainFacts:
        spec = domain.spec
        return replace(
            DomainFacts(spec.uuid, spec.name, domain.state, domain.reason),
            owner=spec.owner, vcpus=spec.vcpus, memory_mib=spec.memory_mib,
        )  # fmt: skip


_READS = frozenset(
    {
        "host",
        "pool",
        "volumes",
        "volume",
        "addresses",
        "domains",
        "domain",
        "disk_paths",
        "agent",
        "screenshot",
        "open_graphics",
    }
)
