"""The rigs: one for each hypervisor and test file, because building a network takes libvirt a second."""

from collections.abc import Iterator

import pytest

from tests.contract.nursery import Nursery, freeze, removed_at_the_end, small
from tests.contract.rigs import Rig, make_rig


@pytest.fixture(scope="module", params=["fake", "mock", "mock-libvirtd", "qemu"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Every test of the contract runs on each of these."""
    found = make_rig(request.param, tmp_path_factory.mktemp(request.param))
    yield found
    found.clear()


@pytest.fixture(scope="module")
def qemu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Real QEMU alone, for what the others cannot show."""
    found = make_rig("qemu", tmp_path_factory.mktemp("qemu"))
    yield found
    found.clear()


@pytest.fixture
def tiny(qemu: Rig) -> Iterator[Nursery]:
    """A template of nothing yet."""
    with removed_at_the_end(small(qemu)) as found:
        yield found


@pytest.fixture(scope="module")
def frozen(qemu: Rig) -> Iterator[Nursery]:
    """A template of a guest that does nothing, frozen."""
    with removed_at_the_end(small(qemu)) as found:
        freeze(found)
        yield found
