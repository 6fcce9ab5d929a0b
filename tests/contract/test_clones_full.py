"""Freezing onto a disk that is full: it says so, whatever was under way, goes on once there is room, or goes away."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from hypervisor.errors import NoSpace
from hypervisor.frozen_files import FrozenFolder
from hypervisor.libvirt_driver import monitor
from tests.contract.nursery import Nursery, removed_at_the_end, small
from tests.contract.rigs import MIB, Rig

ROOMY, PAGE = 512 * MIB, 4096
WRITES = [(monitor, "save_state"), (FrozenFolder, "keep_disk"), (FrozenFolder, "keep_ram"), (FrozenFolder, "write")]


@dataclass
class Disk:
    """A file system of its own, whose size is changed while it is in use."""

    path: Path

    @property
    def used(self) -> int:
        found = os.statvfs(self.path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def fill(self) -> None:
        """Leave nothing free."""
        self._resize(max(self.used, PAGE))  # a size of 0 would be no limit

    def make_room(self) -> None:
        self._resize(ROOMY)

    def _resize(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True)


@pytest.fixture
def disk(qemu: Rig) -> Iterator[Disk]:
    path = qemu.folder / "small"
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOMY},mode=0711", "slipway-contract", path], check=True)
    yield Disk(path)
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def nursery(qemu: Rig, disk: Disk) -> Iterator[Nursery]:
    made = small(qemu)
    made.folder = PurePosixPath(disk.path / "template")
    with removed_at_the_end(made):
        yield made


def full_before(disk: Disk, step: tuple[Any, str], patch: pytest.MonkeyPatch) -> None:
    """Let the disk be full when this is called."""
    place, name = step
    really = getattr(place, name)

    def call(*arguments: Any, **named: Any) -> Any:
        disk.fill()
        return really(*arguments, **named)

    patch.setattr(place, name, call)


@pytest.mark.parametrize("step", WRITES, ids=lambda step: step[1])
@pytest.mark.parametrize("then", ["goes on", "goes away"])
def test_a_freeze_onto_a_full_disk(
    nursery: Nursery, disk: Disk, step: tuple[Any, str], then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hypervisor, spec = nursery.rig.hypervisor, nursery.builder()
    hypervisor.start(spec.uuid)
    with monkeypatch.context() as patch:
        full_before(disk, step, patch)
        with pytest.raises(NoSpace):
            hypervisor.freeze(spec.uuid, nursery.folder)
    assert hypervisor.frozen(nursery.folder) is None  # nobody clones what is half there
    assert hypervisor.domain(spec.uuid) is not None
    if then == "goes on":
        disk.make_room()
        assert hypervisor.freeze(spec.uuid, nursery.folder) == nursery.frozen
        files = {path.name for path in Path(nursery.folder).iterdir()}
        assert files == {"ram", "state", "disk.qcow2", "manifest.json"}
        nursery.remove(nursery.clone().uuid)
        return
    nursery.remove(spec.uuid)  # as the deletion of a builder does, with the disk still full
    hypervisor.remove_frozen(nursery.folder)
    assert hypervisor.domain(spec.uuid) is None
    assert list(disk.path.iterdir()) == []
    assert disk.used < MIB


def test_a_template_whose_memory_has_no_room_is_not_begun(nursery: Nursery, disk: Disk) -> None:
    disk.fill()
    with pytest.raises(NoSpace):
        nursery.builder()
    assert list(Path(nursery.folder).iterdir()) == []
    nursery.remove(nursery.rig.made[-1])
