"""Pools, volumes and seeds."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath
from uuid import uuid4

import pytest

from hypervisor.errors import AlreadyExists, BadSpec, NotFound
from hypervisor.specs import PoolSpec, VolumeSpec
from tests.contract.rigs import MIB, Rig


def test_a_pool_is_made_once_and_known_by_its_folder(rig: Rig) -> None:
    again = rig.hypervisor.ensure_pool(rig.pool_spec)
    assert (again.name, again.path, again.active) == (rig.pool, rig.pool_spec.path, True)
    assert 0 < again.free_bytes <= again.capacity_bytes
    with pytest.raises(AlreadyExists):
        rig.hypervisor.ensure_pool(PoolSpec(rig.pool, PurePosixPath("/var/lib/slipway/elsewhere")))


def test_an_unknown_pool_is_not_found_and_its_removal_is_success(rig: Rig) -> None:
    with pytest.raises(NotFound):
        rig.hypervisor.pool("slipway-none")
    with pytest.raises(NotFound):
        rig.hypervisor.ensure_volume(VolumeSpec("slipway-none", "x.qcow2", MIB))
    rig.hypervisor.remove_pool("slipway-none")


def test_a_volume_is_made_once(rig: Rig) -> None:
    spec = rig.volume_spec(uuid4(), 8 * MIB)
    assert rig.hypervisor.volume(rig.pool, spec.name) is None
    made = rig.hypervisor.ensure_volume(spec)
    assert (made.capacity_bytes, made.path) == (8 * MIB, rig.pool_spec.path / spec.name)
    assert rig.hypervisor.ensure_volume(spec) == made
    assert rig.hypervisor.volume(rig.pool, spec.name) == made
    assert made in rig.hypervisor.volumes(rig.pool)


def test_a_volume_of_that_name_that_is_another_is_refused_and_kept(rig: Rig) -> None:
    spec = rig.volume_spec(uuid4(), 8 * MIB)
    made = rig.hypervisor.ensure_volume(spec)
    for other in (replace(spec, size_bytes=16 * MIB), replace(spec, base_path=None)):
        with pytest.raises(AlreadyExists):
            rig.hypervisor.ensure_volume(other)
    assert rig.hypervisor.volume(rig.pool, spec.name) == made


def test_eight_at_once_make_one_volume(rig: Rig) -> None:
    spec = rig.volume_spec(uuid4())
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(rig.hypervisor.ensure_volume, [spec] * 8))
    assert {facts.name for facts in made} == {spec.name}
    assert [facts.name for facts in rig.hypervisor.volumes(rig.pool)].count(spec.name) == 1


def test_a_volume_grows_and_never_shrinks(rig: Rig) -> None:
    spec = rig.volume_spec(uuid4(), 8 * MIB)
    rig.hypervisor.ensure_volume(spec)
    with rig.can("grow_volume"):
        assert rig.hypervisor.grow_volume(rig.pool, spec.name, 16 * MIB).capacity_bytes == 16 * MIB
        assert rig.hypervisor.grow_volume(rig.pool, spec.name, 16 * MIB).capacity_bytes == 16 * MIB
        with pytest.raises(BadSpec):
            rig.hypervisor.grow_volume(rig.pool, spec.name, 8 * MIB)
        assert rig.hypervisor.ensure_volume(spec).capacity_bytes == 16 * MIB  # larger than asked for is well
    with pytest.raises(NotFound):
        rig.hypervisor.grow_volume(rig.pool, "none.qcow2", MIB)


def test_a_removed_volume_is_gone_and_removing_it_again_is_success(rig: Rig) -> None:
    spec = rig.volume_spec(uuid4())
    rig.hypervisor.ensure_volume(spec)
    rig.hypervisor.remove_volume(rig.pool, spec.name)
    assert rig.hypervisor.volume(rig.pool, spec.name) is None
    assert spec.name not in {facts.name for facts in rig.hypervisor.volumes(rig.pool)}
    rig.hypervisor.remove_volume(rig.pool, spec.name)


@pytest.mark.parametrize("name", ["../x.qcow2", "a/b", "/etc/passwd", "", ".", ".hidden", "nul\0"])
def test_a_name_that_is_a_path_is_refused_A12(rig: Rig, name: str) -> None:
    with pytest.raises(BadSpec):
        rig.hypervisor.ensure_volume(VolumeSpec(rig.pool, name, MIB))
    with pytest.raises(BadSpec):
        rig.hypervisor.volume(rig.pool, name)
    with pytest.raises(BadSpec):
        rig.hypervisor.remove_volume(rig.pool, name)


def test_a_seed_is_made_once_and_replaced_when_it_says_something_else(rig: Rig) -> None:
    name = f"{uuid4()}.iso"
    with rig.can("ensure_seed"):
        made = rig.hypervisor.ensure_seed(rig.pool, name, rig.seed_spec("one"))
        assert rig.hypervisor.ensure_seed(rig.pool, name, rig.seed_spec("one")) == made
        assert made.path == rig.pool_spec.path / name
        rig.hypervisor.ensure_seed(rig.pool, name, rig.seed_spec("two"))
        assert rig.hypervisor.volume(rig.pool, name) is not None
        with pytest.raises(BadSpec):
            rig.hypervisor.ensure_seed(rig.pool, name, replace(rig.seed_spec(), user_data=bytes(64 * 1024 + 1)))
        rig.hypervisor.remove_volume(rig.pool, name)
        assert rig.hypervisor.volume(rig.pool, name) is None
