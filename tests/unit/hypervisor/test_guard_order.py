"""What a card may send from is taken back before it is forgotten that it may: a worker may die in between."""

import contextlib
from types import SimpleNamespace

import pytest

from hypervisor.dhcp_hosts import DhcpHosts
from hypervisor.errors import HypervisorError
from hypervisor.libvirt_driver import networks
from hypervisor.specs import NetworkKind

MAC, OLD, NEW = "52:54:00:00:00:01", "10.0.0.2", "10.0.0.3"


class Verbs(networks.NetworkVerbs):
    """The verbs on one network with a guard, without a libvirt."""

    def __init__(self, spec):
        self._spec = spec
        self._link = SimpleNamespace(use=lambda: contextlib.nullcontext(SimpleNamespace(alive=lambda: True)))

    _is_mock = True

    def _ours(self, _name):
        return SimpleNamespace(isActive=lambda: False), self._spec


@pytest.fixture
def guard(monkeypatch):
    """Return what the packet filter was told; `fails` makes its next telling fail."""
    told = SimpleNamespace(commands=[], fails=False)

    def run(commands, *, dry):
        if told.fails:
            raise HypervisorError("nft: away")
        told.commands.append(commands)

    monkeypatch.setattr(networks.nft, "run", run)
    return told


@pytest.fixture
def verbs(tmp_path):
    spec = SimpleNamespace(
        name="slipway-x-nat", filter_name="", hosts_dir=tmp_path / "dhcp", kind=NetworkKind.NAT, bridge="sw", gateway=""
    )
    DhcpHosts(spec.hosts_dir).make_folder()
    return Verbs(spec)


def dismissals(guard, address):
    return [words for words in guard.commands if "delete element" in words and address in words]


def test_a_card_that_moves_is_dismissed_from_where_it_was_also_by_the_second_attempt_A16(verbs, guard):
    verbs.ensure_address("n", MAC, OLD)
    guard.fails = True
    with pytest.raises(HypervisorError):
        verbs.ensure_address("n", MAC, NEW)
    guard.fails = False
    verbs.ensure_address("n", MAC, NEW)
    assert dismissals(guard, OLD)
    assert verbs.addresses("n") == {MAC: NEW}


def test_so_is_a_card_that_goes_A16(verbs, guard):
    verbs.ensure_address("n", MAC, OLD)
    guard.fails = True
    with pytest.raises(HypervisorError):
        verbs.remove_address("n", MAC)
    guard.fails = False
    verbs.remove_address("n", MAC)
    assert dismissals(guard, OLD)
    assert verbs.addresses("n") == {}
