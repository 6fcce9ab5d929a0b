"""The fake's frozen domains, clones and firewall."""

from datetime import UTC, datetime
from pathlib import PurePosixPath
from uuid import UUID

from . import errors
from .clone_shape import misfits, shape_of
from .fake_calls import PAUSED, RUNNING, FakeCalls, in_state
from .fake_host import FakeDomain, FakeFrozen
from .identity import check_identity
from .nft_rules import build_table
from .specs import DomainSpec, DomainState, FirewallSpec, FrozenFacts, Identity

OWN_BYTES = 65 * 2**20
STATE_BYTES = 900_000
DISK_BYTES = 3_000_000


class FakeClones(FakeCalls):
    """See `hypervisor.api.Hypervisor` for what each method promises."""

    def fingerprint(self) -> str:
        with self._call("fingerprint") as host:
            return host.fingerprint

    def freeze(self, uuid: UUID, folder: PurePosixPath) -> FrozenFacts:
        with self._call("freeze") as host:
            found = host.frozen.get(folder)
            if found is None:
                spec = in_state(host, uuid, RUNNING, PAUSED).spec
                if spec.memory is None or spec.memory.path != folder / "ram":
                    raise errors.BadSpec("the domain's memory is not in that folder")
                disk = spec.disks[0]
                below = () if disk.base_path is None else (disk.base_path, *disk.below)
                found = host.frozen[folder] = FakeFrozen(
                    FrozenFacts(
                        folder, spec.memory_mib, spec.memory_mib * 2**19, STATE_BYTES, DISK_BYTES, host.fingerprint,
                        datetime.now(UTC), below,
                    ),
                    spec,
                )  # fmt: skip
                for pool in host.pools.values():
                    pool.volumes.pop(disk.path.name, None)
            host.domains.pop(uuid, None)
        self._tell(uuid, "undefined")
        return found.facts

    def frozen(self, folder: PurePosixPath) -> FrozenFacts | None:
        with self._call("frozen") as host:
            found = host.frozen.get(folder)
            return found.facts if found else None

    def remove_frozen(self, folder: PurePosixPath) -> None:
        with self._call("remove_frozen") as host:
            host.frozen.pop(folder, None)

    def own_memory(self, uuid: UUID) -> int | None:
        with self._call("own_memory") as host:
            return OWN_BYTES if host.domain(uuid).active else None

    def clone(self, spec: DomainSpec, folder: PurePosixPath, share_ram: bool) -> None:
        with self._call("clone") as host:
            template = host.frozen.get(folder)
            if template is None:
                raise errors.NotFound(f"nothing is frozen in {folder}")
            if template.facts.fingerprint != host.fingerprint:
                raise errors.BadSpec("frozen under another fingerprint")
            if problems := misfits(spec, shape_of(template.spec)):
                raise errors.BadSpec("; ".join(problems))
            disk = spec.disks[0]
            if (disk.base_path, disk.below) != (template.facts.disk, template.facts.disk_below):
                raise errors.BadSpec("the disk is not made on the frozen one")
            found = host.domains.get(spec.uuid)
            if found and not found.active:
                raise errors.WrongState("the domain is off")
            if any(other.spec.name == spec.name and uuid != spec.uuid for uuid, other in host.domains.items()):
                raise errors.AlreadyExists(f"the name {spec.name} belongs to another domain")
            if found is None or not found.persistent:
                host.domains[spec.uuid] = FakeDomain(spec, PAUSED, "user", boots=1)
        self._tell(spec.uuid, "lifecycle")

    def identify(self, uuid: UUID, identity: Identity, timeout_seconds: float = 20) -> None:
        check_identity(identity)
        with self._call("identify") as host:
            domain = in_state(host, uuid, RUNNING)
            if uuid in host.mute:
                raise errors.AgentUnavailable("the guest does not answer")
            domain.identity = identity

    def save(self, uuid: UUID) -> None:
        with self._call("save") as host:
            domain = in_state(host, uuid, RUNNING, PAUSED, DomainState.SUSPENDED)
            domain.state, domain.reason = DomainState.SUSPENDED, "saved"
        self._tell(uuid, "lifecycle")

    def ensure_firewall(self, spec: FirewallSpec) -> None:
        build_table(spec)  # refuses what the real one would
        with self._call("ensure_firewall") as host:
            host.firewalls[spec.name] = spec

    def remove_firewall(self, name: str) -> None:
        with self._call("remove_firewall") as host:
            host.firewalls.pop(name, None)
