"""The isolation probe itself, between namespaces that nothing separates: it must find every way that is open.

Were it blind, an isolation report would be a row of green ticks that means nothing.
"""

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guests.imagebuild.programs import compile_program
from hypervisor.nft_guard import build_dismissal, build_guard, tap_name
from tests.ears import Ears

OURS = bytes.fromhex("525400")  # how every card's MAC begins
HOST, NEIGHBOUR, GUEST = "10.99.0.1", "10.99.0.3", "10.99.0.2"
ELSEWHERE = "10.98.0.1"  # the host's address on another network


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program("slipway-probe", tmp_path_factory.mktemp("probe"))


@pytest.fixture
def unguarded() -> Iterator[str]:
    """A guest and a neighbour on one bridge, each a namespace, and the bridge in a third one as their host."""
    names = [f"sw-probe-{who}" for who in ("host", "guest", "next")]
    host, guest, neighbour = names
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", host, "link", "add", "br0", "type", "bridge")
        ip("-n", host, "addr", "add", f"{HOST}/24", "dev", "br0")
        ip("-n", host, "link", "set", "br0", "up")
        ip("-n", host, "link", "add", "away", "type", "bridge")
        ip("-n", host, "addr", "add", f"{ELSEWHERE}/24", "dev", "away")
        ip("-n", host, "link", "set", "away", "up")
        for number, (name, address) in enumerate(((guest, GUEST), (neighbour, NEIGHBOUR))):
            ip("-n", host, "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", name, "link", "set", "eth0", "address", f"52:54:00:0a:0b:0{number}")
            ip("-n", host, "link", "set", f"port{number}", "master", "br0", "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "route", "add", "default", "via", HOST)
        yield guest
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=10, check=False)


def found(guest: str, probe: Path, *arguments: str) -> dict[str, str]:
    command = ["ip", "netns", "exec", guest, str(probe), *arguments]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return {name: rest for name, _space, rest in (line.partition(" ") for line in said.splitlines())}


@contextmanager
def ears_at(namespace: str) -> Iterator[Ears]:
    """Listen on eth0 of a namespace: a socket belongs to the one in which it was opened."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    away = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        assert libc.setns(away, 0) == 0
        try:
            ears = Ears("eth0")
        finally:
            assert libc.setns(home, 0) == 0
        with ears:
            yield ears
    finally:
        os.close(home)
        os.close(away)


def test_the_probe_finds_every_way_that_is_open(unguarded: str, probe: Path) -> None:
    neighbour = f"{NEIGHBOUR},{mac_in('sw-probe-next')}"
    said = found(unguarded, probe, f"{HOST},{ELSEWHERE}", neighbour, "22,8000-8010")
    assert said["host_tcp"].startswith("open 22(refused),8000(refused)")
    assert said["host_udp"].startswith("open 53(refused)")
    assert said["host_others"] == f"open {ELSEWHERE}(tcp),{ELSEWHERE}(udp),{ELSEWHERE}(ping)"
    assert said["host_arp"] == f"open {ELSEWHERE}"
    assert said["neighbour_tcp"] == "open 22(refused)"
    assert said["dhcp"].startswith("open"), said
    for way in ("host_ping", "host_ipv6", "neighbour_arp", "neighbour_ping", "forged_mac", "forged_ip"):
        assert said[way] == "open", said
    assert said["metadata"] == said["private"] == said["router"] == "blocked"


def test_where_nobody_would_answer_it_is_not_said_that_nothing_got_through(unguarded: str, probe: Path) -> None:
    """Behind walls nothing comes back either: the silence of nobody shows nothing."""
    ip("-n", "sw-probe-host", "link", "set", "br0", "down")
    said = found(unguarded, probe, HOST, "-", "22")
    for way in ("host_others", "host_arp", "neighbour_arp", "neighbour_ping", "neighbour_tcp", "dhcp"):
        assert said[way] == "untested nobody", said
    assert said["host_tcp"] == said["host_ping"] == "blocked", said


def test_all_that_is_shouted_arrives_where_nothing_stops_it(unguarded: str, probe: Path) -> None:
    with ears_at("sw-probe-next") as ears:
        said = found(unguarded, probe, "shout", HOST, NEIGHBOUR, mac_in("sw-probe-next"))
        heard = [frame for frame in ears.heard() if frame[6:9] == OURS]
    assert set(said.values()) == {"sent"}
    assert len(heard) >= len(said) == 10


def test_what_it_says_in_ipv6_would_be_taken_by_whoever_hears_it(unguarded: str, probe: Path) -> None:
    """A router drops a wrong checksum, and a probe that nobody answers finds nothing open."""
    ours = bytes.fromhex("fe80") + bytes(13) + bytes.fromhex(mac_in(unguarded)[-2:])
    with ears_at("sw-probe-next") as ears:
        found(unguarded, probe, HOST, NEIGHBOUR, "22")
        found(unguarded, probe, "shout", HOST, NEIGHBOUR, mac_in("sw-probe-next"))
        heard = {frame[54]: frame for frame in ears.heard() if frame[12:14] == b"\x86\xdd" and frame[22:38] == ours}
    solicitation, advertisement = heard[133], heard[134]
    assert (solicitation[:6].hex(), solicitation[38:54].hex()) == ("333300000002", f"ff02{2:028x}")
    assert (advertisement[:6].hex(), advertisement[38:54].hex()) == ("333300000001", f"ff02{1:028x}")
    for frame in (solicitation, advertisement):
        message = frame[54:]
        assert int.from_bytes(frame[18:20]) == len(message)
        pseudo = frame[22:54] + len(message).to_bytes(4) + frame[20].to_bytes(4)
        total = sum(int.from_bytes(word) for word in words_of(pseudo + message))
        assert total % 0xFFFF == 0, frame.hex()


def words_of(data: bytes) -> list[bytes]:
    return [data[at : at + 2] for at in range(0, len(data), 2)]


@pytest.fixture
def guarded(unguarded: str) -> str:
    """The same, behind the guard of sandbox networks: ports named as taps are, and isolated as libvirt makes them."""
    cards = {}
    for port, (name, address) in {"port0": ("sw-probe-guest", GUEST), "port1": ("sw-probe-next", NEIGHBOUR)}.items():
        cards[mac_in(name)] = address
        ip("-n", "sw-probe-host", "link", "set", port, "down")
        ip("-n", "sw-probe-host", "link", "set", port, "name", tap_name("probe", mac_in(name)))
        ip(
            "-n",
            "sw-probe-host",
            "link",
            "set",
            tap_name("probe", mac_in(name)),
            "up",
            "type",
            "bridge_slave",
            "isolated",
            "on",
        )
    inside = ["ip", "netns", "exec", "sw-probe-host", "nft", "-f", "-"]
    for _again in range(2):  # what a node's agent does every half minute
        subprocess.run(inside, input=build_guard("probe", cards), check=True, text=True, timeout=10)
    return unguarded


def mac_in(namespace: str) -> str:
    shown = subprocess.run(
        ["ip", "-n", namespace, "-j", "link", "show", "eth0"], check=True, capture_output=True, text=True, timeout=10
    ).stdout
    return str(json.loads(shown)[0]["address"])


def test_behind_the_guard_only_the_host_is_left_and_nothing_forged_reaches_it_A16(guarded: str, probe: Path) -> None:
    said = found(guarded, probe, f"{HOST},{ELSEWHERE}", f"{NEIGHBOUR},{mac_in('sw-probe-next')}", "22")
    assert said.pop("host_tcp") == "open 22(refused)"
    for way in ("host_udp", "host_ping", "host_others", "host_arp"):  # the packet filter's business, not the guard's
        assert said.pop(way).startswith("open"), way
    assert set(said.values()) == {"blocked"}, said


def test_what_is_shouted_behind_the_guard_reaches_no_neighbour_A16(guarded: str, probe: Path) -> None:
    with ears_at("sw-probe-next") as ears:
        said = found(guarded, probe, "shout", HOST, NEIGHBOUR, mac_in("sw-probe-next"))
        heard = [frame for frame in ears.heard() if frame[6:9] == OURS]  # the bridge itself speaks of IPv6
    assert set(said.values()) == {"sent"}
    assert heard == []


def test_a_card_that_was_dismissed_may_send_nothing(guarded: str, probe: Path) -> None:
    commands = build_dismissal("probe", mac_in(guarded), GUEST)
    inside = ["ip", "netns", "exec", "sw-probe-host", "nft", "-f", "-"]
    for _again in range(2):
        subprocess.run(inside, input=commands, check=True, text=True, timeout=10)
    assert found(guarded, probe, HOST, NEIGHBOUR, "22")["host_tcp"] == "blocked"


def test_without_a_card_there_is_nothing_to_try(probe: Path) -> None:
    name = "sw-probe-alone"
    ip("netns", "add", name)
    try:
        assert found(name, probe, HOST, NEIGHBOUR) == {"card": "blocked there is no card with an address"}
    finally:
        ip("netns", "del", name)


def test_a_card_that_is_unplugged_sends_nothing(unguarded: str, probe: Path) -> None:
    ip("-n", "sw-probe-host", "link", "set", "port0", "down")
    assert found(unguarded, probe, HOST, NEIGHBOUR) == {"card": "blocked it is unplugged"}


def test_what_is_no_address_is_refused(probe: Path) -> None:
    done = subprocess.run([str(probe), "host", NEIGHBOUR], capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: slipway-probe HOST[,OTHER...] NEIGHBOUR[,MAC]|- [PORTS]\n")


def test_ip_is_there() -> None:
    assert shutil.which("ip")
