"""Networks and addresses."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from uuid import uuid4

import pytest

from hypervisor.errors import AlreadyExists, BadSpec, NotFound
from hypervisor.factory import open_hypervisor
from hypervisor.libvirt_driver import nft
from hypervisor.nft_guard import build_admission, table_name
from hypervisor.specs import DomainState, NetworkKind, NetworkSpec
from tests.contract.rigs import MOCKS, URIS, Rig

COMINGS = 200  # without the lock the first few left their card behind
MAC, OTHER_MAC = "52:54:00:98:00:01", "52:54:00:98:00:02"


def test_a_network_is_made_once(rig: Rig) -> None:
    rig.hypervisor.ensure_network(rig.network_spec)
    rig.hypervisor.ensure_network(rig.network_spec)


def test_an_unknown_network_has_no_addresses_and_its_removal_is_success(rig: Rig) -> None:
    with pytest.raises(NotFound):
        rig.hypervisor.addresses("slipway-none")
    with pytest.raises(NotFound):
        rig.hypervisor.ensure_address("slipway-none", MAC, "10.0.0.2")
    rig.hypervisor.remove_network("slipway-none", "slipway-none-guest")


def test_an_address_belongs_to_one_card_until_it_is_given_back(rig: Rig) -> None:
    network, prefix = rig.network_spec.name, rig.network_spec.gateway.rsplit(".", 1)[0]
    rig.hypervisor.ensure_address(network, MAC.upper(), f"{prefix}.200")
    rig.hypervisor.ensure_address(network, MAC, f"{prefix}.200")
    assert rig.hypervisor.addresses(network)[MAC] == f"{prefix}.200"
    with pytest.raises(AlreadyExists):
        rig.hypervisor.ensure_address(network, OTHER_MAC, f"{prefix}.200")
    rig.hypervisor.ensure_address(network, MAC, f"{prefix}.201")
    rig.hypervisor.ensure_address(network, OTHER_MAC, f"{prefix}.200")
    assert rig.hypervisor.addresses(network) == {MAC: f"{prefix}.201", OTHER_MAC: f"{prefix}.200"}
    for mac in (MAC, OTHER_MAC, MAC):
        rig.hypervisor.remove_address(network, mac)
    assert rig.hypervisor.addresses(network) == {}


def guarded(rig: Rig) -> NetworkSpec:
    """A network with a guard of its own, not made yet."""
    return replace(
        rig.network_spec, name=f"slipway-{rig.installation_id}-g", uuid=uuid4(), bridge=f"sg-{rig.installation_id}",
        gateway="", prefix_length=0, dhcp_first="", dhcp_last="", filter_name="",
        hosts_dir=rig.network_spec.hosts_dir / "guarded", kind=NetworkKind.ISOLATED,
    )  # fmt: skip


def test_a_guard_lets_a_card_send_from_its_address_until_that_is_given_back(rig: Rig) -> None:
    network = guarded(rig)
    with pytest.raises(NotFound):
        rig.hypervisor.admitted(network.name)
    rig.hypervisor.ensure_network(network)
    try:
        assert rig.hypervisor.admitted(network.name) == {}
        if rig.name in MOCKS:  # it judges the guard's rules and has none
            return
        rig.hypervisor.ensure_address(network.name, MAC, "10.98.0.5")
        assert rig.hypervisor.admitted(network.name) == {MAC: "10.98.0.5"}
        rig.hypervisor.remove_address(network.name, MAC)
        assert rig.hypervisor.admitted(network.name) == {}
    finally:
        rig.hypervisor.remove_network(network.name, "")


def test_a_card_that_lost_its_entry_alone_is_dismissed_too(qemu: Rig) -> None:
    network = guarded(qemu)
    qemu.hypervisor.ensure_network(network)
    try:
        nft.run(build_admission(network.name, MAC, "10.98.0.5"))
        assert qemu.hypervisor.admitted(network.name) == {MAC: "10.98.0.5"}
        qemu.hypervisor.remove_address(network.name, MAC)
        assert qemu.hypervisor.admitted(network.name) == {}
    finally:
        qemu.hypervisor.remove_network(network.name, "")


def test_a_guard_that_is_renewed_lets_nobody_back_in_who_is_dismissed_meanwhile_A16(qemu: Rig) -> None:
    """The node agent renews it while workers come and go with cards: two processes, so no lock of one of them helps."""
    network, stop = guarded(qemu), Event()
    qemu.hypervisor.ensure_network(network)

    def renew() -> int:
        times = 0
        agent = open_hypervisor(URIS["qemu"])
        try:
            while not stop.is_set():
                agent.ensure_network(network)
                times += 1
        finally:
            agent.close()
        return times

    try:
        with ThreadPoolExecutor(1) as pool:
            renewed = pool.submit(renew)
            try:
                for _ in range(COMINGS):
                    qemu.hypervisor.ensure_address(network.name, MAC, "10.98.0.5")
                    qemu.hypervisor.ensure_address(network.name, MAC, "10.98.0.6")
                    qemu.hypervisor.remove_address(network.name, MAC)
                    assert "52:54" not in nft.listed(f"set bridge {table_name(network.name)} guests")
            finally:
                stop.set()
            assert renewed.result(60) > 0
    finally:
        qemu.hypervisor.remove_network(network.name, "")


def test_a_filter_lets_a_card_send_from_its_address_while_its_domain_is_on(rig: Rig) -> None:
    network = rig.network_spec.name
    spec = rig.make(card=True)
    assert rig.hypervisor.admitted(network) == {}
    rig.hypervisor.start(spec.uuid)
    filtered = {} if rig.name in MOCKS else {nic.mac: nic.address for nic in spec.nics}
    assert rig.hypervisor.admitted(network) == filtered
    rig.hypervisor.force_off(spec.uuid)
    assert rig.hypervisor.admitted(network) == {}


@pytest.mark.parametrize("bad", [("52:54:00:98:00:01", "10.0.0.999"), ("not a mac", "10.99.0.2"), ("../x", "10.0.0.2")])
def test_what_is_no_address_is_refused(rig: Rig, bad: tuple[str, str]) -> None:
    with pytest.raises(BadSpec):
        rig.hypervisor.ensure_address(rig.network_spec.name, *bad)


def test_a_network_that_differs_is_replaced_only_while_no_card_is_on_it(rig: Rig) -> None:
    other = replace(rig.network_spec, domain="elsewhere.internal")
    with rig.can("replace a network"):
        rig.hypervisor.ensure_network(other)
        rig.hypervisor.ensure_network(rig.network_spec)
    spec = rig.make(card=True)
    rig.hypervisor.start(spec.uuid)
    try:
        with rig.can("replace a network"), pytest.raises(AlreadyExists):
            rig.hypervisor.ensure_network(other)
        found = rig.hypervisor.domain(spec.uuid)
        assert found is not None
        assert found.state is DomainState.RUNNING
    finally:
        rig.hypervisor.force_off(spec.uuid)
    rig.hypervisor.ensure_network(rig.network_spec)
