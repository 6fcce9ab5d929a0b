"""Subnets, DHCP host entries, and the message that gives a lease back."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor import subnets
from hypervisor.dhcp_hosts import DhcpHosts, entry_name
from hypervisor.dhcp_release import release_packet
from hypervisor.errors import AlreadyExists, BadSpec, HypervisorError
from hypervisor.subnets import free_subnet

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"


@settings(max_examples=100, deadline=None)
@given(
    prefix_length=st.integers(16, 28),
    hint=st.text(max_size=8),
    used=st.lists(st.integers(0, 2**32 - 1).map(lambda number: IPv4Network((number, 20), strict=False)), max_size=20),
)
def test_a_free_subnet_is_private_and_meets_no_other(prefix_length: int, hint: str, used: list[IPv4Network]) -> None:
    found = free_subnet(prefix_length, hint, used)
    assert found.prefixlen == prefix_length
    assert found.is_private
    assert not any(found.overlaps(other) for other in used)


def test_the_hint_gives_the_same_subnet_while_it_is_free_and_the_next_when_not() -> None:
    first = free_subnet(20, "0badcafe", [])
    assert free_subnet(20, "0badcafe", []) == first
    assert free_subnet(20, "other", []) != first
    second = free_subnet(20, "0badcafe", [first])
    assert int(second.network_address) - int(first.network_address) == 4096


def test_where_ten_is_taken_another_range_is_used_and_at_last_none() -> None:
    ten, other = IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12")
    assert free_subnet(20, "x", [ten]).subnet_of(other)
    assert free_subnet(20, "x", [ten, other]).subnet_of(IPv4Network("192.168.0.0/16"))
    with pytest.raises(HypervisorError):
        free_subnet(20, "x", [IPv4Network("0.0.0.0/0")])


def test_what_the_host_has_is_read_from_its_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        stdout = b'[{"dst":"default"},{"dst":"10.1.0.0/16"},{"type":"local","dst":"192.0.2.7"}]'

    monkeypatch.setattr(subnets.subprocess, "run", lambda *_arguments, **_options: Answer)
    assert subnets.used_subnets() == [IPv4Network("10.1.0.0/16"), IPv4Network("192.0.2.7/32")]
    Answer.stdout = b"no JSON"
    with pytest.raises(HypervisorError):
        subnets.used_subnets()


def test_the_hosts_own_addresses_are_read_from_its_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        stdout = b'[{},{"addr_info":[{"local":"192.0.2.7"},{"local":"10.1.0.1"}]},{"ifname":"eth1","addr_info":[]}]'

    monkeypatch.setattr(subnets.subprocess, "run", lambda *_arguments, **_options: Answer)
    assert subnets.host_addresses() == ["192.0.2.7", "10.1.0.1"]


@pytest.fixture
def hosts(tmp_path: Path) -> DhcpHosts:
    found = DhcpHosts(tmp_path / "dhcp")
    found.make_folder()
    return found


def test_an_entry_is_a_file_as_dnsmasq_reads_it(hosts: DhcpHosts, tmp_path: Path) -> None:
    assert hosts.put(MAC, "10.0.0.2") is True
    assert hosts.put(MAC, "10.0.0.2") is False
    [path] = (tmp_path / "dhcp").iterdir()
    assert path.read_text() == f"{MAC},10.0.0.2\n"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_card_has_one_address_and_an_address_one_card(hosts: DhcpHosts) -> None:
    hosts.put(MAC, "10.0.0.2")
    with pytest.raises(AlreadyExists):
        hosts.put(OTHER, "10.0.0.2")
    assert hosts.put(MAC, "10.0.0.3") is True
    hosts.put(OTHER, "10.0.0.2")
    assert hosts.entries() == {MAC: "10.0.0.3", OTHER: "10.0.0.2"}
    assert hosts.drop(MAC) == "10.0.0.3"
    assert hosts.drop(MAC) is None
    assert hosts.entries() == {OTHER: "10.0.0.2"}


def test_what_is_no_entry_is_neither_read_nor_removed(hosts: DhcpHosts, tmp_path: Path) -> None:
    hosts.put(MAC, "10.0.0.2")
    stranger = tmp_path / "dhcp" / "README"
    stranger.write_text("not ours")
    assert hosts.entries() == {MAC: "10.0.0.2"}
    hosts.remove_folder()
    assert [path.name for path in (tmp_path / "dhcp").iterdir()] == ["README"]
    stranger.unlink()
    hosts.remove_folder()
    assert not (tmp_path / "dhcp").exists()
    assert hosts.entries() == {}


@pytest.mark.parametrize(
    ("mac", "address"),
    [
        ("52:54:00:00:00:01", "10.0.0"),
        (MAC, "10.0.0.256"),
        ("../../x", "10.0.0.2"),
        (MAC, "10.0.0.2\n1.2.3.4"),
        ("", ""),
    ],
)
def test_what_is_no_card_and_address_makes_no_file_A12(mac: str, address: str) -> None:
    with pytest.raises(BadSpec):
        entry_name(mac, address)


def test_the_release_of_a_lease_is_the_message_of_rfc_2131() -> None:
    packet = release_packet("10.0.0.1", "10.0.0.9", MAC)
    assert packet[:4] == bytes((1, 1, 6, 0))
    assert packet[12:16] == bytes((10, 0, 0, 9))  # ciaddr
    assert packet[16:28] == bytes(12)
    assert packet[28:44] == bytes.fromhex("525400000001") + bytes(10)  # chaddr
    assert packet[236:240] == bytes((99, 130, 83, 99))
    assert packet[240:] == bytes((53, 1, 7, 54, 4, 10, 0, 0, 1, 255))
    assert release_packet("10.0.0.1", "10.0.0.9", MAC)[4:8] != packet[4:8]  # another transaction
