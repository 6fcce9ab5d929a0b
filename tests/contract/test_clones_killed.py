"""Freezing and cloning when the process that does it dies at any step, or a step fails."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hypervisor.errors import HypervisorError
from hypervisor.frozen_files import FrozenFolder
from hypervisor.libvirt_driver import LibvirtHypervisor, cloning, monitor, ram_holders
from tests.contract.nursery import Nursery
from tests.contract.rigs import URIS

FREEZE_STEPS = [
    (monitor, "save_state"), (FrozenFolder, "keep_state"), (FrozenFolder, "keep_disk"), (FrozenFolder, "keep_ram"),
    (FrozenFolder, "write"),
]  # fmt: skip
CLONE_STEPS = [
    (ram_holders, "keep"), (cloning, "build_clone"), (monitor, "_pass_file"), (monitor, "load_state"),
    (cloning, "build_domain"),
]  # fmt: skip


@pytest.mark.parametrize("step", FREEZE_STEPS, ids=lambda step: step[1])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_freeze_that_was_killed_goes_on(tiny: Nursery, step: tuple[Any, str], when: str) -> None:
    spec = tiny.builder()
    tiny.rig.hypervisor.start(spec.uuid)
    killed_at(step, when, lambda hypervisor: hypervisor.freeze(spec.uuid, tiny.folder))
    assert tiny.rig.hypervisor.freeze(spec.uuid, tiny.folder) == tiny.frozen
    assert tiny.rig.hypervisor.domain(spec.uuid) is None
    assert {path.name for path in Path(tiny.folder).iterdir()} == {"ram", "state", "disk.qcow2", "manifest.json"}
    tiny.remove(tiny.clone().uuid)


@pytest.mark.parametrize("step", CLONE_STEPS, ids=lambda step: step[1])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_clone_that_was_killed_is_made_anew_or_taken_away(frozen: Nursery, step: tuple[Any, str], when: str) -> None:
    again, gone = frozen.clone_spec(), frozen.clone_spec()
    for spec in (again, gone):
        killed_at(step, when, lambda hypervisor, spec=spec: hypervisor.clone(spec, frozen.folder, True))  # type: ignore[misc]
    frozen.rig.hypervisor.clone(again, frozen.folder, True)
    frozen.rig.hypervisor.resume(again.uuid)
    assert frozen.facts(again.uuid).persistent
    for spec in (again, gone):
        frozen.remove(spec.uuid)
        assert frozen.rig.hypervisor.domain(spec.uuid) is None


@pytest.mark.parametrize("module_and_name", [(monitor, "load_state"), (cloning, "build_domain")], ids=lambda it: it[1])
def test_a_clone_that_fails_leaves_nothing(
    frozen: Nursery, module_and_name: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise HypervisorError("told to")

    spec = frozen.clone_spec()
    monkeypatch.setattr(*module_and_name, fail)
    with pytest.raises(HypervisorError, match="told to"):
        frozen.rig.hypervisor.clone(spec, frozen.folder, True)
    assert frozen.rig.hypervisor.domain(spec.uuid) is None


def killed_at(step: tuple[Any, str], when: str, call: Callable[[LibvirtHypervisor], object]) -> None:
    """Makes the call in a process that dies just before or after a function, with no chance to tidy up."""
    place, name = step
    child = os.fork()
    if child == 0:
        real = getattr(place, name)

        def last(*arguments: Any, **named: Any) -> None:
            if when == "after":
                real(*arguments, **named)
            os._exit(7)

        setattr(place, name, last)
        try:
            call(LibvirtHypervisor(URIS["qemu"]))
        finally:
            os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
