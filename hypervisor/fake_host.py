"""What the fake hypervisor remembers, how it is told to behave, and the file through which processes share it."""

import base64
import fcntl
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from uuid import UUID

from . import errors
from .specs import (
    DomainEvent,
    DomainSpec,
    DomainState,
    FirewallSpec,
    FrozenFacts,
    Identity,
    NetworkSpec,
    PoolSpec,
    SeedSpec,
)

Listener = Callable[[DomainEvent], None]


@dataclass
class FakeDomain:
    spec: DomainSpec
    state: DomainState = DomainState.STOPPED
    reason: str = ""
    boots: int = 0
    identity: Identity | None = None
    foreign: tuple[str, ...] = ()
    persistent: bool = True  # not, while a clone is only half made

    @property
    def active(self) -> bool:
        return self.state not in (DomainState.STOPPED, DomainState.SUSPENDED)


@dataclass
class FakeVolume:
    name: str
    path: PurePosixPath
    capacity_bytes: int
    base_path: PurePosixPath | None = None
    seed: SeedSpec | None = None
    whole: bool = True


@dataclass
class FakePool:
    spec: PoolSpec
    volumes: dict[str, FakeVolume] = field(default_factory=dict)


@dataclass
class FakeNetwork:
    spec: NetworkSpec
    addresses: dict[str, str] = field(default_factory=dict)
    guests: dict[str, str] = field(default_factory=dict)  # what its guard lets through

    def admit(self) -> None:
        """A guard knows every card that was given an address; where there is a filter, domains bring it."""
        if not self.spec.filter_name:
            self.guests |= self.addresses


@dataclass
class FakeFrozen:
    facts: FrozenFacts
    spec: DomainSpec


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
    frozen: dict[PurePosixPath, FakeFrozen] = field(default_factory=dict)
    firewalls: dict[str, FirewallSpec] = field(default_factory=dict)
    fingerprint: str = "fake 1"
    calls: list[str] = field(default_factory=list)
    exit_code: int = 0  # of every command that the agent is asked to run
    said_base64: str = "MAo="  # what it printed: "0"
    slow_seconds: float = 0.0  # what each call takes, so that there is something to interrupt

    def domain(self, uuid: UUID) -> FakeDomain:
        """The domain; NotFound when there is none."""
        if uuid not in self.domains:
            raise errors.NotFound(f"domain {uuid}")
        return self.domains[uuid]

    def pool(self, name: str) -> FakePool:
        """The pool; NotFound when there is none."""
        if name not in self.pools:
            raise errors.NotFound(f"pool {name}")
        return self.pools[name]

    def network(self, name: str) -> FakeNetwork:
        """The network; NotFound when there is none."""
        if name not in self.networks:
            raise errors.NotFound(f"network {name}")
        return self.networks[name]


class FakeControls:
    """The part of the fake that tests steer, and the way to its memory."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = Path(path) if path else None
        self._host = FakeHost()
        self._lock = threading.RLock()
        self.listeners: list[Listener] = []
        self.drop_events = False

    def fail_next(self, verb: str, error: errors.HypervisorError, times: int = 1) -> None:
        """Make the next `times` calls of a verb raise `error` before they do anything."""
        with self._open() as host:
            host.failures.setdefault(verb, []).extend([error] * times)

    def set_away(self, away: bool) -> None:
        """Make every call raise Unavailable, or answer again."""
        with self._open() as host:
            host.away = away

    def set_slow(self, seconds: float) -> None:
        """Make every call take so long before it does anything."""
        with self._open() as host:
            host.slow_seconds = seconds

    def set_deaf(self, uuid: UUID, deaf: bool = True) -> None:
        """Make the guest ignore shutdown and reboot requests."""
        with self._open() as host:
            (host.deaf.add if deaf else host.deaf.discard)(uuid)

    def set_mute(self, uuid: UUID, mute: bool = True) -> None:
        """Make the guest's agent never answer."""
        with self._open() as host:
            (host.mute.add if mute else host.mute.discard)(uuid)

    def set_command(self, exit_code: int, said: str = "0\n") -> None:
        """Say how every command ends that the agent is asked to run, and what it prints."""
        with self._open() as host:
            host.exit_code, host.said_base64 = exit_code, base64.b64encode(said.encode()).decode()

    def happen(self, uuid: UUID, state: DomainState, reason: str = "") -> None:
        """Let something happen to a domain behind our back, with its event."""
        with self._open() as host:
            domain = host.domain(uuid)
            domain.state, domain.reason = state, reason
        self._tell(uuid, "lifecycle")

    def half_make(self, spec: DomainSpec) -> None:
        """Let a clone be there as one whose maker was killed in the middle of it: paused, and not defined."""
        with self._open() as host:
            host.domains[spec.uuid] = FakeDomain(spec, DomainState.PAUSED, "migration", boots=1, persistent=False)

    def vanish(self, uuid: UUID) -> None:
        """Undefine a domain behind our back."""
        with self._open() as host:
            host.domains.pop(uuid, None)
        self._tell(uuid, "undefined")

    def attach(self, uuid: UUID, *devices: str) -> None:
        """Let exactly these devices be attached to a domain behind our back."""
        with self._open() as host:
            host.domain(uuid).foreign = devices
        self._tell(uuid, "device")

    def lose_volume(self, pool: str, name: str) -> None:
        """Delete a file from a pool behind our back."""
        with self._open() as host:
            host.pools[pool].volumes.pop(name, None)

    def cut_volume(self, pool: str, name: str, *, to_nothing: bool = False) -> None:
        """Truncate a file of a pool behind our back: within its tables, or to no byte at all."""
        with self._open() as host:
            volume = host.pools[pool].volumes[name]
            volume.whole, volume.capacity_bytes = to_nothing, 0 if to_nothing else volume.capacity_bytes

    def seed_of(self, pool: str, name: str) -> SeedSpec | None:
        """Return what a seed was made from."""
        with self._open() as host:
            volume = host.pools[pool].volumes.get(name)
            return volume.seed if volume else None

    def boots(self, uuid: UUID) -> int:
        """Return how often a domain has booted: started, or rebooted while on."""
        with self._open() as host:
            return host.domain(uuid).boots

    def set_fingerprint(self, fingerprint: str) -> None:
        """Let another QEMU be installed, or another machine type be the newest."""
        with self._open() as host:
            host.fingerprint = fingerprint

    def identity(self, uuid: UUID) -> Identity | None:
        """Return the identity that a guest was given last."""
        with self._open() as host:
            return host.domain(uuid).identity

    def firewall(self, name: str) -> FirewallSpec | None:
        """Return the packet filter of that name."""
        with self._open() as host:
            return host.firewalls.get(name)

    @property
    def calls(self) -> list[str]:
        """The verbs that change something, in the order in which they were called."""
        with self._open() as host:
            return list(host.calls)

    @contextmanager
    def _open(self) -> Iterator[FakeHost]:
        """The host's state under the lock, read from and written to the shared file where there is one."""
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

    def _tell(self, uuid: UUID, what: str) -> None:
        if not self.drop_events:
            for listener in list(self.listeners):
                listener(DomainEvent(uuid, what))
