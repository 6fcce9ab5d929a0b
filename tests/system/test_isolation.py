"""The walls of a sandbox, from inside two real ones and from the wire between them (A16, A17)."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import libvirt
import pytest
from lxml import etree

from tests.ears import Ears, call_out
from tests.live import Api, Live, wait_for

pytestmark = pytest.mark.timeout(600)  # the first test waits for the template of a fresh portal

PROBE = "/usr/sbin/slipway-probe"
OURS = bytes.fromhex("525400")
MANY_PORTS = "1-4100,5432,5900-5999,6379,8000-8200,16509,16514,49152"


WAYS = ["host_tcp", "host_udp", "host_ping", "host_others", "host_arp", "host_ipv6", "neighbour_tcp", "neighbour_ping"]
WAYS += ["neighbour_arp", "metadata", "private", "forged_mac", "forged_ip", "dhcp", "router"]


def found_open(said: str) -> list[str]:
    """Return the ways that were found open, or not tried; the bridge's name server may answer."""
    results = dict(line.split(" ", 1) for line in said.splitlines())
    for way in ("host_tcp", "host_udp"):
        if results.get(way) == "open 53":
            results[way] = "blocked"
    return [f"{way}: {results.get(way)}" for way in WAYS if results.get(way) != "blocked"]


@contextmanager
def sandboxes(api: Api, count: int, **asked: Any) -> Iterator[list[dict[str, Any]]]:
    """Make some of the template `micro`; they are deleted at the end."""
    made: list[dict[str, Any]] = []
    try:
        for _number in range(count):
            answer = api.call("POST", "sandboxes", {"template": "micro", "project": "harbor", **asked}, status=202)
            made.append(answer["sandbox"])
            operation = api.finished(answer["operation"])
            assert operation["status"] == "succeeded", operation
        yield [api.call("GET", f"sandboxes/{one['id']}") for one in made]
    finally:
        for one in made:
            api.http.delete(f"sandboxes/{one['id']}")


@pytest.fixture(scope="module", autouse=True)
def template(alice: Api) -> None:
    def ready() -> bool:
        builds = alice.call("GET", "templates/micro")["builds"]
        return any(build["status"] == "ready" for build in builds)

    wait_for(ready, 300, "the template micro is not ready")


@pytest.fixture(scope="module")
def pair(alice: Api) -> Iterator[list[dict[str, Any]]]:
    with sandboxes(alice, 2, network="nat") as made:
        yield made


def run(api: Api, sandbox: dict[str, Any], *argv: str, seconds: float = 180) -> str:
    """Run a command as root; return what it said."""
    body = {"argv": ["sudo", "-n", *argv], "timeout_seconds": int(seconds)}
    begun = api.call("POST", f"sandboxes/{sandbox['id']}/runs", body, status=201)

    def ended() -> Any:
        found = api.call("GET", f"runs/{begun['id']}")
        return found if found["status"] not in ("pending", "running") else None

    found = wait_for(ended, seconds, "the command has not ended")
    said = api.http.get(f"runs/{begun['id']}/output", params={"stream": "stdout"}).text
    assert found["exit_code"] == 0, (found, said)
    return said


def card_of(host: libvirt.virConnect, sandbox: dict[str, Any]) -> tuple[str, str]:
    """Return the host's end of a sandbox's card, and its MAC."""
    root = etree.fromstring(host.lookupByUUIDString(sandbox["vm"]["domain_uuid"]).XMLDesc(0).encode())
    [card] = root.findall("devices/interface")
    tap, mac = card.find("target"), card.find("mac")
    assert tap is not None
    assert mac is not None
    return str(tap.get("dev")), str(mac.get("address"))


def rows_of(live: Live, sandbox: dict[str, Any]) -> dict[str, str]:
    """Return what is known of a sandbox's card: its address and bridge, and the host's addresses that a check tries."""
    script = (
        "import json; from sandboxes import isolation; from vms.models import Nic;"
        f"nic = Nic.objects.select_related('network', 'vm').get(vm='{sandbox['id']}');"
        "found = {'address': nic.address, 'bridge': nic.network.bridge, 'hosts': isolation.command(nic.vm)[3]};"
        "print(json.dumps(found))"
    )
    found: dict[str, str] = json.loads(live.manage("shell", "--no-imports", "-c", script).stdout.splitlines()[-1])
    return found


def network_of(live: Live, sandbox: dict[str, Any]) -> str:
    """Return the address of the bridge that a sandbox is on."""
    return rows_of(live, sandbox)["hosts"].split(",")[0]


def own_addresses() -> set[str]:
    """Return every IPv4 address of this host, as far as they are not those of bridges of whichever installation."""
    shown = subprocess.run(
        ["ip", "-j", "-4", "addr", "show", "scope", "global"], capture_output=True, check=True
    ).stdout
    cards = [card for card in json.loads(shown) if card and not card["ifname"].startswith(("sw-", "virbr"))]
    return {address["local"] for card in cards for address in card["addr_info"]}


def test_nothing_gets_out_of_a_sandbox_but_to_the_outside_A16_A17(live: Live, alice: Api, host, pair) -> None:
    """By every address that the host has, on every way that the probe knows."""
    attacker, neighbour = pair
    hosts = rows_of(live, attacker)["hosts"]
    assert len(hosts.split(",")) >= 2
    assert len(own_addresses()) > 10 or own_addresses() <= set(hosts.split(","))
    said = run(alice, attacker, PROBE, hosts, f"{neighbour['ip_addresses'][0]},{card_of(host, neighbour)[1]}")
    assert found_open(said) == [], said


@pytest.mark.parametrize("network", ["nat", "isolated", "none"])
def test_the_report_says_that_the_walls_held_A16_A17(alice: Api, network: str) -> None:
    with sandboxes(alice, 2, network=network) as (attacker, _neighbour):
        begun = alice.call("POST", f"sandboxes/{attacker['id']}/isolation", status=202)

        def ended() -> Any:
            found = alice.call("GET", f"sandboxes/{attacker['id']}/isolation")
            return found if found["verdict"] != "running" else None

        report = wait_for(ended, 130, "the check has not ended by its own time limit")
    assert (report["run"], report["verdict"]) == (begun["run"], "held"), report
    results = {probe["name"]: probe["result"] for probe in report["probes"]}
    assert set(results.values()) == {"held"}, report
    assert set(results) == ({"card"} if network == "none" else set(WAYS))


def test_of_thousands_of_ports_of_the_host_only_its_name_server_answers_A17(live: Live, alice: Api, host, pair) -> None:
    attacker, neighbour = pair
    him = f"{neighbour['ip_addresses'][0]},{card_of(host, neighbour)[1]}"
    said = run(alice, attacker, PROBE, rows_of(live, attacker)["hosts"], him, MANY_PORTS, seconds=300)
    assert found_open(said) == [], said


def test_what_is_shouted_reaches_no_neighbour_A16(live: Live, alice: Api, host, pair) -> None:
    attacker, neighbour = pair
    tap, mac = card_of(host, neighbour)
    _own_tap, own_mac = card_of(host, attacker)
    arguments = ("shout", network_of(live, attacker), neighbour["ip_addresses"][0], mac)
    with Ears(tap, towards_the_guest=True) as ears:
        said = run(alice, attacker, PROBE, *arguments)
        heard = [frame for frame in ears.heard() if frame[6:12] != bytes.fromhex(mac.replace(":", ""))]
    assert said.count(" sent") == 10, said
    assert [frame for frame in heard if frame[6:9] == OURS] == [], own_mac


def test_a_forged_frame_reaches_not_even_the_host_A16(live: Live, alice: Api, host, pair) -> None:
    """At the bridge itself only what the guest may send is heard: under its own MAC, and no DHCP offer."""
    attacker, neighbour = pair
    tap, mac = card_of(host, attacker)
    bridge = etree.fromstring(host.lookupByUUIDString(attacker["vm"]["domain_uuid"]).XMLDesc(0).encode()).find(
        "devices/interface/source"
    )
    assert bridge is not None
    with Ears(str(bridge.get("bridge"))) as ears:
        run(alice, attacker, PROBE, "shout", network_of(live, attacker), neighbour["ip_addresses"][0], mac)
        heard = [frame for frame in ears.heard() if frame[6:9] == OURS]
    own = bytes.fromhex(mac.replace(":", ""))
    assert {frame[6:12] for frame in heard} <= {own}, tap
    assert not [frame for frame in heard if frame[12:14] not in (b"\x08\x00", b"\x08\x06")]
    assert not [frame for frame in heard if frame[12:14] == b"\x08\x00" and frame[34:36] == b"\x00\x43"]


@pytest.mark.parametrize("network", ["isolated", "none"])
def test_two_sandboxes_without_a_network_do_not_find_each_other_A16_A17(
    live: Live, alice: Api, host, network: str
) -> None:
    """An ear at each card: what the first sends is heard at its own end, unless unplugged, never at the other's."""
    with sandboxes(alice, 2, network=network) as (attacker, neighbour):
        own, other = rows_of(live, attacker), rows_of(live, neighbour)
        (own_tap, own_mac), (tap, mac) = card_of(host, attacker), card_of(host, neighbour)
        assert own["bridge"] == other["bridge"], "else it shows nothing"
        with Ears(own_tap) as ours, Ears(tap, towards_the_guest=True) as theirs:
            said = run(alice, attacker, PROBE, own["hosts"], f"{other['address']},{mac}")
            shouted = run(alice, attacker, PROBE, "shout", own["hosts"].split(",")[0], other["address"], mac)
            # the ear is not deaf: what the bridge says to all does arrive; an unplugged card has no bridge but its tap
            control = call_out(own["bridge"] if network == "isolated" else tap)
            sent, arrived = ours.heard(), theirs.heard()
    assert control in arrived
    me, them = (bytes.fromhex(each.replace(":", "")) for each in (own_mac, mac))
    assert [frame for frame in arrived if frame[6:11] == me[:5]] == []  # the forged MAC differs in its last byte
    if network == "none":
        assert said == "card blocked it is unplugged\n"
        assert sent == [], "the card is unplugged: not even this host hears it"
        return
    assert found_open(said) == [], said
    assert shouted.count(" sent") == 10, shouted
    assert {frame[6:12] for frame in sent} == {me, me[:5] + bytes([me[5] ^ 0x55])}
    assert [frame for frame in sent if frame[:6] == them], "it did speak to its neighbour"
