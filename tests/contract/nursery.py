"""Templates and their clones for the contract's tests: of the boot sector that halts, and of the image `micro`."""

import base64
import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from uuid import UUID, uuid4

import pytest

from hypervisor.errors import AgentUnavailable
from hypervisor.identity import new_identity
from hypervisor.specs import DiskSpec, DomainFacts, DomainSpec, FrozenFacts, Identity, MemorySpec, VolumeSpec
from tests.contract.rigs import MIB, Rig
from tests.contract.waiting import wait_for

MICRO = Path(__file__).parents[2] / "var/cache/images/micro.qcow2"
MICRO_MIB = 192
BOOT_SECONDS = 240
# As a template is left: no address, no client that renews one, nothing unwritten.
QUIET = """
kill $(pidof network) $(pidof udhcpc)
ip addr flush dev eth0
ip link set eth0 up
sync
echo 3 > /proc/sys/vm/drop_caches
"""


@dataclass
class Nursery:
    """One template and the clones that are made of it."""

    rig: Rig
    image: PurePosixPath
    memory_mib: int
    size_bytes: int
    cards: bool
    folder: PurePosixPath

    def builder(self) -> DomainSpec:
        """A domain to be frozen, defined and off, with its disk."""
        spec = replace(self._spec(self.image), memory=MemorySpec(self.folder / "ram"))
        self._disk(spec)
        self.rig.hypervisor.define(spec)
        return spec

    def clone_spec(self, **more: object) -> DomainSpec:
        """What a clone is to be, with its disk."""
        facts = self.frozen
        spec = self._spec(facts.disk, facts.disk_below)
        self._disk(spec)
        return replace(spec, **more)  # type: ignore[arg-type]

    def clone(self, share_ram: bool = True) -> DomainSpec:
        """A clone that runs, still with its template's identity."""
        spec = self.clone_spec()
        self.rig.hypervisor.clone(spec, self.folder, share_ram)
        self.rig.hypervisor.resume(spec.uuid)
        return spec

    def name(self, spec: DomainSpec, hostname: str) -> Identity:
        """Give a clone an identity, and return it."""
        card = spec.nics[0]
        identity = new_identity(card.mac, card.address, 24, self.rig.network_spec.gateway, hostname)
        self.rig.hypervisor.identify(spec.uuid, identity, BOOT_SECONDS)
        return identity

    @property
    def frozen(self) -> FrozenFacts:
        found = self.rig.hypervisor.frozen(self.folder)
        assert found is not None
        return found

    def facts(self, uuid: UUID) -> DomainFacts:
        found = self.rig.hypervisor.domain(uuid)
        assert found is not None
        return found

    def remove(self, uuid: UUID) -> None:
        """Neither the domain nor its disk is there."""
        with contextlib.suppress(Exception):
            self.rig.hypervisor.force_off(uuid)
        self.rig.hypervisor.undefine(uuid)
        self.rig.hypervisor.remove_volume(self.rig.pool, f"{uuid}.qcow2")

    def _spec(self, base: PurePosixPath, below: tuple[PurePosixPath, ...] = ()) -> DomainSpec:
        spec = self.rig.domain_spec(card=self.cards)
        disk = DiskSpec(spec.disks[0].path, 0, base, below=below)
        return replace(
            spec,
            memory_mib=self.memory_mib,
            disks=(disk,),
            cpu="Nehalem",
            identity_socket=PurePosixPath(self.rig.folder / f"{str(spec.uuid)[:8]}.identity"),
            run_socket=PurePosixPath(self.rig.folder / f"{str(spec.uuid)[:8]}.run"),
        )

    def _disk(self, spec: DomainSpec) -> None:
        disk = spec.disks[0]
        volume = VolumeSpec(self.rig.pool, disk.path.name, self.size_bytes, disk.base_path)
        self.rig.hypervisor.ensure_volume(volume)


def small(rig: Rig) -> Nursery:
    """Of the boot sector that halts: for what needs no guest."""
    folder = PurePosixPath(rig.folder / "templates" / str(uuid4()))
    return Nursery(rig, rig.base(), 64, 4 * MIB, False, folder)


def of_micro(rig: Rig) -> Nursery:
    """Of the image micro, which is copied to where QEMU's user may read it; nothing is frozen yet."""
    if not MICRO.exists():
        pytest.fail("the image micro is missing: run ./dev image micro")
    image = rig.folder / "micro.qcow2"
    shutil.copyfile(MICRO, image)
    folder = PurePosixPath(rig.folder / "templates" / str(uuid4()))
    return Nursery(rig, PurePosixPath(image), MICRO_MIB, 2**30, True, folder)


def freeze(nursery: Nursery) -> DomainSpec:
    """Boot the template, make it quiet if it has a guest, and freeze it."""
    spec, hypervisor = nursery.builder(), nursery.rig.hypervisor
    hypervisor.start(spec.uuid)
    if nursery.cards:
        wait_for(lambda: answers(nursery, spec.uuid), BOOT_SECONDS)
        run(nursery, spec.uuid, QUIET)
    hypervisor.freeze(spec.uuid, nursery.folder)
    return spec


def answers(nursery: Nursery, uuid: UUID) -> bool:
    """Whether the guest agent answers."""
    try:
        nursery.rig.hypervisor.agent(uuid, "guest-ping", timeout_seconds=2)
    except AgentUnavailable:
        return False
    return True


def run(nursery: Nursery, uuid: UUID, script: str) -> str:
    """What a shell script in the guest wrote."""
    arguments = {"path": "/bin/sh", "arg": ["-c", script], "capture-output": True}
    hypervisor = nursery.rig.hypervisor
    pid = hypervisor.agent(uuid, "guest-exec", arguments, 20)["pid"]
    ended: dict[str, str] = {}

    def has_ended() -> bool:
        ended.update(hypervisor.agent(uuid, "guest-exec-status", {"pid": pid}, 20))
        return bool(ended["exited"])

    wait_for(has_ended, BOOT_SECONDS)
    return base64.b64decode(ended.get("out-data", "")).decode()


@contextlib.contextmanager
def removed_at_the_end(nursery: Nursery) -> Iterator[Nursery]:
    """Takes the template away, and with it the process that holds its memory."""
    try:
        yield nursery
    finally:
        nursery.rig.hypervisor.remove_frozen(nursery.folder)
