"""Freezing a domain, cloning it, pausing it to disk: the contract, on the fake and on QEMU."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from uuid import uuid4

import pytest

from hypervisor.errors import AgentUnavailable, BadSpec, NotFound, NotSupported, WrongState
from hypervisor.fake import FakeHypervisor
from hypervisor.identity import new_identity
from hypervisor.specs import DomainState, MemorySpec
from tests.contract.nursery import Nursery, freeze, removed_at_the_end, small
from tests.contract.rigs import MOCKS, Rig, make_rig

WHO = new_identity("52:54:00:99:00:fe", "10.99.0.200", 24, "10.99.0.1", "clone")


@pytest.fixture(scope="module", params=["fake", "qemu"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    found = make_rig(request.param, tmp_path_factory.mktemp(request.param))
    yield found
    found.clear()


@pytest.fixture(scope="module")
def nursery(home: Rig) -> Iterator[Nursery]:
    with removed_at_the_end(small(home)) as found:
        freeze(found)
        yield found


@pytest.fixture
def fresh(home: Rig) -> Iterator[Nursery]:
    """One whose template is not made yet."""
    with removed_at_the_end(small(home)) as found:
        yield found


def test_nothing_is_cloned_from_nothing(rig: Rig) -> None:
    spec = rig.domain_spec()
    refusal = NotSupported if rig.name in MOCKS else NotFound
    with pytest.raises(refusal):
        rig.hypervisor.clone(spec, PurePosixPath("/nonexistent/frozen"), True)
    assert rig.hypervisor.frozen(PurePosixPath("/nonexistent/frozen")) is None
    rig.hypervisor.remove_frozen(PurePosixPath("/nonexistent/frozen"))
    assert rig.hypervisor.domain(spec.uuid) is None


def test_a_fingerprint_is_the_same_twice(rig: Rig) -> None:
    assert rig.hypervisor.fingerprint() == rig.hypervisor.fingerprint() != ""


def test_a_frozen_domain_is_files_and_no_domain(fresh: Nursery) -> None:
    hypervisor = fresh.rig.hypervisor
    spec = fresh.builder()
    assert hypervisor.frozen(fresh.folder) is None
    with pytest.raises(WrongState):  # off
        hypervisor.freeze(spec.uuid, fresh.folder)
    hypervisor.start(spec.uuid)
    facts = hypervisor.freeze(spec.uuid, fresh.folder)
    assert facts == hypervisor.frozen(fresh.folder) == hypervisor.freeze(spec.uuid, fresh.folder)
    assert (facts.memory_mib, facts.disk_below) == (64, (fresh.image,))
    assert facts.fingerprint == hypervisor.fingerprint()
    assert min(facts.ram_bytes, facts.state_bytes, facts.disk_bytes) > 0
    assert hypervisor.domain(spec.uuid) is None
    assert hypervisor.volume(fresh.rig.pool, spec.disks[0].path.name) is None
    hypervisor.remove_frozen(fresh.folder)
    assert hypervisor.frozen(fresh.folder) is None


def test_a_paused_domain_is_frozen_too(fresh: Nursery) -> None:
    spec = fresh.builder()
    fresh.rig.hypervisor.start(spec.uuid)
    fresh.rig.hypervisor.pause(spec.uuid)
    assert fresh.rig.hypervisor.freeze(spec.uuid, fresh.folder).memory_mib == 64


def test_only_what_has_its_memory_there_is_frozen(fresh: Nursery) -> None:
    spec = fresh.builder()
    fresh.rig.hypervisor.start(spec.uuid)
    with pytest.raises(BadSpec):
        fresh.rig.hypervisor.freeze(spec.uuid, fresh.folder.parent / str(uuid4()))
    plain = fresh.rig.make()
    fresh.rig.hypervisor.start(plain.uuid)
    with pytest.raises(BadSpec):
        fresh.rig.hypervisor.freeze(plain.uuid, fresh.folder)
    with pytest.raises(NotFound):
        fresh.rig.hypervisor.freeze(uuid4(), fresh.folder)
    assert fresh.facts(plain.uuid).state is DomainState.RUNNING


@pytest.mark.parametrize("share_ram", [True, False])
def test_a_clone_is_paused_complete_and_an_ordinary_domain(nursery: Nursery, share_ram: bool) -> None:
    hypervisor, spec = nursery.rig.hypervisor, nursery.clone_spec()
    hypervisor.clone(spec, nursery.folder, share_ram)
    found = nursery.facts(spec.uuid)
    assert (found.state, found.persistent, found.owner) == (DomainState.PAUSED, True, spec.owner)
    hypervisor.clone(spec, nursery.folder, share_ram)  # it is there
    hypervisor.define(spec)  # and as it should be
    hypervisor.resume(spec.uuid)
    hypervisor.clone(spec, nursery.folder, share_ram)  # nor is it touched while it runs
    assert nursery.facts(spec.uuid).state is DomainState.RUNNING
    assert (hypervisor.own_memory(spec.uuid) or 0) > 2**20
    hypervisor.force_off(spec.uuid)
    assert nursery.facts(spec.uuid).state is DomainState.STOPPED
    assert hypervisor.own_memory(spec.uuid) is None
    with pytest.raises(WrongState):  # its disk may be ahead of the template's memory
        hypervisor.clone(spec, nursery.folder, share_ram)
    hypervisor.start(spec.uuid)
    assert nursery.facts(spec.uuid).state is DomainState.RUNNING
    nursery.remove(spec.uuid)
    assert hypervisor.domain(spec.uuid) is None


def test_what_another_qemu_froze_is_not_cloned(fresh: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    freeze(fresh)
    spec, hypervisor = fresh.clone_spec(), fresh.rig.hypervisor
    with monkeypatch.context() as patch:
        change_fingerprint(fresh.rig, patch)
        with pytest.raises(BadSpec, match="frozen under"):
            hypervisor.clone(spec, fresh.folder, True)
    assert hypervisor.domain(spec.uuid) is None
    hypervisor.clone(spec, fresh.folder, True)  # the old one is back
    fresh.remove(spec.uuid)


def change_fingerprint(rig: Rig, patch: pytest.MonkeyPatch) -> None:
    """As if another QEMU had been installed since."""
    if isinstance(rig.hypervisor, FakeHypervisor):
        patch.setattr(rig.hypervisor._host, "fingerprint", "another")
    else:
        patch.setattr(rig.hypervisor, "fingerprint", lambda: "another")


@pytest.mark.parametrize(
    "change",
    [
        {"memory_mib": 65}, {"vcpus": 2}, {"run_socket": None}, {"identity_socket": None}, {"machine": "pc"},
        {"disks": ()}, {"memory": MemorySpec(PurePosixPath("/var/lib/x/ram"))}, {"cpu": "qemu64"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_is_not_like_its_template_is_refused_and_leaves_nothing(
    nursery: Nursery, change: dict[str, object]
) -> None:
    spec = nursery.clone_spec(**change)
    with pytest.raises(BadSpec):
        nursery.rig.hypervisor.clone(spec, nursery.folder, True)
    assert nursery.rig.hypervisor.domain(spec.uuid) is None


def test_a_disk_on_something_else_is_refused(nursery: Nursery) -> None:
    spec = nursery.clone_spec()
    for disk in (replace(spec.disks[0], below=()), replace(spec.disks[0], base_path=nursery.image, below=())):
        with pytest.raises(BadSpec):
            nursery.rig.hypervisor.clone(replace(spec, disks=(disk,)), nursery.folder, True)


@pytest.mark.parametrize(("was_paused", "share_ram"), [(True, True), (False, True), (False, False)])
def test_a_clone_is_paused_to_disk_and_comes_back(nursery: Nursery, was_paused: bool, share_ram: bool) -> None:
    hypervisor, spec = nursery.rig.hypervisor, nursery.clone(share_ram)
    if was_paused:
        hypervisor.pause(spec.uuid)
    for _ in range(2):
        hypervisor.save(spec.uuid)
        found = nursery.facts(spec.uuid)
        assert (found.state, found.active) == (DomainState.SUSPENDED, False)
    hypervisor.start(spec.uuid)
    assert nursery.facts(spec.uuid).state is DomainState.RUNNING
    hypervisor.save(spec.uuid)
    hypervisor.start(spec.uuid)
    assert nursery.facts(spec.uuid).state is DomainState.RUNNING
    nursery.remove(spec.uuid)


def test_what_is_off_cannot_be_paused_to_disk(nursery: Nursery) -> None:
    spec = nursery.rig.make()
    with pytest.raises(WrongState):
        nursery.rig.hypervisor.save(spec.uuid)
    with pytest.raises(NotFound):
        nursery.rig.hypervisor.save(uuid4())


def test_only_a_running_guest_that_listens_can_be_named(nursery: Nursery) -> None:
    spec = nursery.clone_spec()
    nursery.rig.hypervisor.clone(spec, nursery.folder, True)
    with pytest.raises(WrongState):
        nursery.rig.hypervisor.identify(spec.uuid, WHO)
    nursery.rig.hypervisor.resume(spec.uuid)
    if nursery.rig.name == "fake":
        nursery.rig.hypervisor.set_mute(spec.uuid)  # type: ignore[attr-defined]
    with pytest.raises(AgentUnavailable):
        nursery.rig.hypervisor.identify(spec.uuid, WHO, timeout_seconds=2)
    nursery.remove(spec.uuid)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": b"short"}, {"mac": "52:54:00"}, {"address": "10.0.0.999"}, {"gateway": "10.0.0.1; reboot"},
        {"hostname": "a b"}, {"hostname": "x\nack=1"}, {"machine_id": "$(reboot)"},
    ],
)  # fmt: skip
def test_an_identity_that_is_none_is_refused(nursery: Nursery, change: dict[str, object]) -> None:
    with pytest.raises(BadSpec):
        nursery.rig.hypervisor.identify(uuid4(), replace(WHO, **change))  # type: ignore[arg-type]


def test_clones_outlive_their_templates_memory(fresh: Nursery) -> None:
    freeze(fresh)
    spec = fresh.clone()
    fresh.rig.hypervisor.remove_frozen(fresh.folder)
    fresh.rig.hypervisor.remove_frozen(fresh.folder)
    assert fresh.facts(spec.uuid).state is DomainState.RUNNING
    with pytest.raises(NotFound):
        fresh.rig.hypervisor.clone(fresh.rig.domain_spec(), fresh.folder, True)
    fresh.remove(spec.uuid)
