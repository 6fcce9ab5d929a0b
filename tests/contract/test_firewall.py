"""The packet filter's rules between namespaces: what guests on each kind of bridge reach, and what they do not.

One namespace is the host, with its bridges and a way out; one is the world, with a public and a private address; the
others are guests. No hypervisor is needed for this, and no traffic leaves the namespaces.
"""

import contextlib
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hypervisor.errors import HypervisorError
from hypervisor.libvirt_driver import LibvirtHypervisor
from hypervisor.nft_rules import build_removal, build_table
from hypervisor.specs import BridgeRule, FirewallSpec
from tests.contract.waiting import wait_for

PUBLIC, PRIVATE = "203.0.113.1", "192.168.77.1"
# bridge -> the host's address on it ("" for none) and its two guests'
BRIDGES = {
    "swf-vms": ("10.11.1.1", ("10.11.1.2", "10.11.1.3")),
    "swf-nat": ("10.11.2.1", ("10.11.2.2", "10.11.2.3")),
    "swf-iso": ("", ("10.11.3.2", "10.11.3.3")),
}
RULES = FirewallSpec(
    "slipway_tests",
    (
        BridgeRule("swf-vms", "10.11.1.1", subnet="10.11.1.0/24"),
        BridgeRule("swf-nat", "10.11.2.1", private=False, subnet="10.11.2.0/24"),
        BridgeRule("swf-iso", outside=False, subnet="10.11.3.0/24"),
    ),
)
ANSWER = """
import select, socket, sys
family = socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET
open_ones = {}
for word in sys.argv[2:]:
    kind, port = word.split(":")
    one = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("", int(port)))
    if kind == "tcp":
        one.listen()
    open_ones[one] = kind
print("ready", flush=True)
while True:
    for one in select.select(list(open_ones), [], [])[0]:
        if open_ones[one] == "tcp":
            one.accept()[0].sendall(b"yes")
        else:
            one.sendto(b"yes", one.recvfrom(100)[1])
"""
ASK = """
import socket, sys
kind, address, port = sys.argv[1:]
place = socket.getaddrinfo(address, int(port), type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)[0]
with socket.socket(*place[:3]) as one:
    one.settimeout(1)
    try:
        one.connect(place[4])
        one.send(b"?")
        print(one.recv(3).decode())
    except OSError as error:
        print(type(error).__name__)
"""


@dataclass
class Town:
    """The namespaces; names of people in it are those of `ip netns` without the prefix."""

    prefix: str

    def ns(self, who: str) -> str:
        return f"{self.prefix}-{who}"

    def ip(self, who: str, *words: str) -> None:
        subprocess.run(["ip", "-n", self.ns(who), *words], check=True, capture_output=True, timeout=10)

    def inside(self, who: str, *command: str, text: str | None = None) -> str:
        full = ["ip", "netns", "exec", self.ns(who), *command]
        return subprocess.run(full, input=text, check=True, capture_output=True, text=True, timeout=30).stdout

    def reaches(self, who: str, kind: str, address: str, port: int) -> bool:
        return self.inside(who, sys.executable, "-I", "-S", "-c", ASK, kind, address, str(port)).strip() == "yes"

    def guest(self, bridge: str, number: int = 0) -> str:
        return f"{bridge}-{number}"


def build(town: Town) -> None:
    town.ip("host", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", town.ns("world"))
    for who, device, addresses in (
        ("host", "up0", ["203.0.113.2/24", "192.168.77.2/24"]),
        ("world", "eth0", [f"{PUBLIC}/24", f"{PRIVATE}/24"]),
    ):
        for address in addresses:
            town.ip(who, "addr", "add", address, "dev", device)
        town.ip(who, "link", "set", device, "up")
    town.ip("world", "route", "add", "10.11.0.0/16", "via", "203.0.113.2")
    town.inside("host", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    for bridge, (gateway, guests) in BRIDGES.items():
        town.ip("host", "link", "add", bridge, "type", "bridge")
        if gateway:
            town.ip("host", "addr", "add", f"{gateway}/24", "dev", bridge)
        town.ip("host", "link", "set", bridge, "up")
        for number, address in enumerate(guests):
            who, port = town.guest(bridge, number), f"{bridge}{number}"
            town.ip("host", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", town.ns(who))
            town.ip("host", "link", "set", port, "master", bridge, "up")
            town.ip("host", "link", "set", port, "type", "bridge_slave", "isolated", "on")
            town.ip(who, "addr", "add", f"{address}/24", "dev", "eth0")
            town.ip(who, "link", "set", "eth0", "up")
            # a neighbour is tried through the host as well: the direct way is shut by the ports
            town.ip(who, "route", "add", "default", "via", gateway or address.rsplit(".", 1)[0] + ".1")


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    found = Town(f"swf{secrets.token_hex(3)}")
    people = ["host", "world", *(found.guest(bridge, number) for bridge in BRIDGES for number in (0, 1))]
    with contextlib.ExitStack() as ending:
        for who in people:
            subprocess.run(["ip", "netns", "add", found.ns(who)], check=True, timeout=10)
            ending.callback(subprocess.run, ["ip", "netns", "del", found.ns(who)], check=False, timeout=10)
            found.ip(who, "link", "set", "lo", "up")
        build(found)
        for who in people:
            ports = ["tcp:22", "tcp:53", "udp:53", "udp:67", "udp:123", "tcp:8000"]
            for family in ("4", "6") if who == "host" else ("4",):
                ports = ports if family == "4" else ["tcp:8006"]
                command = ["ip", "netns", "exec", found.ns(who), sys.executable, "-I", "-S", "-c", ANSWER]
                process = ending.enter_context(subprocess.Popen([*command, family, *ports], stdout=subprocess.PIPE))
                ending.callback(process.kill)
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
        yield found


@pytest.fixture
def guarded(town: Town) -> Iterator[Town]:
    town.inside("host", "nft", "-f", "-", text=build_table(RULES))
    yield town
    town.inside("host", "nft", "-f", "-", text=build_removal(RULES.name))


def host_v6(town: Town, bridge: str) -> str:
    """The host's link-local address on a bridge, as its guests name it."""

    def found() -> str:
        said = town.inside("host", "ip", "-6", "-o", "addr", "show", "dev", bridge, "scope", "link")
        return "" if "tentative" in said or not said else said.split()[3].split("/")[0]

    return wait_for(found) + "%eth0"


def test_without_the_rules_all_of_it_is_reached(town: Town) -> None:
    guest = town.guest("swf-nat")
    assert town.reaches(guest, "tcp", "10.11.2.1", 8000)
    assert town.reaches(guest, "tcp", PRIVATE, 8000)
    assert town.reaches(guest, "tcp", "10.11.1.2", 8000)
    assert town.reaches("world", "tcp", "10.11.2.2", 22)
    wait_for(lambda: town.reaches(guest, "tcp", host_v6(town, "swf-nat"), 8006))


@pytest.mark.parametrize("bridge", ["swf-vms", "swf-nat"])
def test_of_the_host_only_dhcp_and_dns_answer_A17(guarded: Town, bridge: str) -> None:
    guest, gateway = guarded.guest(bridge), BRIDGES[bridge][0]
    reached = {
        f"{kind}:{port}"
        for kind, port in (("tcp", 22), ("tcp", 53), ("udp", 53), ("udp", 67), ("udp", 123), ("tcp", 8000))
        if guarded.reaches(guest, kind, gateway, port)
    }
    assert reached == {"tcp:53", "udp:53", "udp:67"}
    for address in ("203.0.113.2", "192.168.77.2", *(other for other, _ in BRIDGES.values() if other != gateway)):
        assert not address or not guarded.reaches(guest, "udp", address, 53)
        assert not address or not guarded.reaches(guest, "tcp", address, 8000)
    assert not guarded.reaches(guest, "tcp", host_v6(guarded, bridge), 8006)


def finds(town: Town, who: str, address: str) -> bool:
    """Does anybody answer, where a guest looks for an address on its own link?"""
    town.ip(who, "route", "replace", f"{address}/32", "dev", "eth0")
    try:
        town.reaches(who, "tcp", address, 8000)
        return "lladdr" in town.inside(who, "ip", "neigh", "show", address)
    finally:
        town.ip(who, "route", "del", f"{address}/32", "dev", "eth0")
        town.ip(who, "neigh", "flush", "to", address)


@pytest.mark.parametrize("bridge", list(BRIDGES))
def test_no_guest_finds_which_addresses_the_host_has_elsewhere_A17(town: Town, bridge: str) -> None:
    guest, gateway = town.guest(bridge), BRIDGES[bridge][0]
    assert finds(town, guest, "203.0.113.2"), "Linux answers for all of its addresses on every card"
    town.inside("host", "nft", "-f", "-", text=build_table(RULES))
    try:
        assert not finds(town, guest, "203.0.113.2")
        assert not gateway or finds(town, guest, gateway)
    finally:
        town.inside("host", "nft", "-f", "-", text=build_removal(RULES.name))


@pytest.mark.parametrize("bridge", list(BRIDGES))
def test_no_guest_reaches_another(guarded: Town, bridge: str) -> None:
    guest = guarded.guest(bridge)
    for other, (_, addresses) in BRIDGES.items():
        assert not guarded.reaches(guest, "tcp", addresses[1], 8000), other


def test_a_machine_reaches_the_world_and_a_sandbox_only_its_public_part(guarded: Town) -> None:
    machine, sandbox, isolated = (guarded.guest(bridge) for bridge in BRIDGES)
    assert guarded.reaches(machine, "tcp", PUBLIC, 8000)
    assert guarded.reaches(machine, "tcp", PRIVATE, 8000)
    assert guarded.reaches(sandbox, "tcp", PUBLIC, 8000)
    assert not guarded.reaches(sandbox, "tcp", PRIVATE, 8000)
    assert not guarded.reaches(isolated, "tcp", PUBLIC, 8000)


def test_the_host_reaches_its_guests_and_the_world_does_not_reach_sandboxes(guarded: Town) -> None:
    for bridge in ("swf-vms", "swf-nat"):
        assert guarded.reaches("host", "tcp", BRIDGES[bridge][1][0], 22)
    assert not guarded.reaches("world", "tcp", "10.11.2.2", 22)


def test_the_rules_are_replaced_in_one_step_and_removed_twice(guarded: Town) -> None:
    for _ in range(2):
        guarded.inside("host", "nft", "-f", "-", text=build_table(RULES))
    listed = guarded.inside("host", "nft", "list", "ruleset")
    assert listed.count('iifname "swf-nat" drop') == 1
    for _ in range(2):
        guarded.inside("host", "nft", "-f", "-", text=build_removal(RULES.name))
    assert "slipway_tests" not in guarded.inside("host", "nft", "list", "ruleset")


def test_the_driver_makes_and_removes_the_table() -> None:
    hypervisor, name = LibvirtHypervisor("qemu:///system"), f"slipway_{secrets.token_hex(4)}"
    try:
        for _ in range(2):
            hypervisor.ensure_firewall(FirewallSpec(name, (BridgeRule("swf-none", "10.11.1.1"),)))
        listings = [["nft", "list", "table", family, name] for family in ("inet", "arp")]
        for listing in listings:
            assert subprocess.run(listing, capture_output=True, check=False).returncode == 0
        hypervisor.remove_firewall(name)
        for listing in listings:
            assert subprocess.run(listing, capture_output=True, check=False).returncode != 0
        hypervisor.remove_firewall(name)
        with pytest.raises(HypervisorError):
            hypervisor.remove_firewall("not a name")
    finally:
        for family in ("inet", "arp"):
            subprocess.run(["nft", "delete", "table", family, name], capture_output=True, check=False)
        hypervisor.close()
