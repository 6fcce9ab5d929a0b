"""The guard of a network: one nftables table that lets each guest's frames pass under its own MAC and address alone.

It says what a network's nwfilter says (network_xml.build_filter), for every card of the network at once: a set holds
which tap may send as whom, so that a new card costs one transaction, where libvirt makes some thirty and waits for the
kernel after each. A tap's name follows from its network and its card's MAC, so the set can be filled before there is a
tap; one that is not in it may send nothing. What goes to a guest needs no rule: its neighbours' ports are isolated, so
only the host is left. Source: nft(8), family bridge; the taps are told by their names, because not every kernel can
say which bridge a frame came in by (`meta ibrname`).
"""

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping

from .errors import BadSpec

_MAC = re.compile(r"52:54:00((?::[0-9a-f]{2}){3})")
_NOBODY_YET = "0.0.0.0"  # noqa: S104 - a DHCP client's address; nothing binds to it
_BY_IP = "iifname . ether saddr . ip saddr @guests"
_BY_ARP = "iifname . arp saddr ether . arp saddr ip @guests iifname . ether saddr . arp saddr ip @guests"


def tap_name(network: str, mac: str) -> str:
    """The name of the tap of this card: 15 characters, which is what an interface's name may have."""
    found = _MAC.fullmatch(mac.lower())
    if not found:
        raise BadSpec(f"no MAC of ours: {mac!r}")
    return tap_prefix(network) + found[1].replace(":", "")


def tap_prefix(network: str) -> str:
    """What the names of all taps of a network begin with, and no other's."""
    return "s" + hashlib.blake2s(network.encode(), digest_size=4).hexdigest()


def table_name(network: str) -> str:
    """`slipway_guard_` and the network's name, which holds the installation's: whose it is can be seen."""
    return "slipway_guard_" + re.sub(r"[^a-z0-9]", "_", network.removeprefix("slipway-"))


def build_guard(network: str, cards: Mapping[str, str]) -> str:
    """The commands after which the table is as it should be and its set holds `cards`, {MAC: address}, too.

    Nothing is taken out: a card that is admitted meanwhile must not be lost.
    """
    table = table_name(network)
    lines = [
        f"table bridge {table} {{",
        "  set guests { type ifname . ether_addr . ipv4_addr; }",
        "  chain from_guests { type filter hook prerouting priority -300; policy accept; }",
        "}",
        f"flush chain bridge {table} from_guests",
        f"table bridge {table} {{",
        "  chain from_guests {",
        f'    iifname != "{tap_prefix(network)}*" accept',
        f"    ether type arp {_BY_ARP} arp operation {{ request, reply }} accept",
        "    ether type != ip drop",
        "    udp sport 67 drop",
        f"    ip saddr {_NOBODY_YET} ip daddr 255.255.255.255 udp sport 68 udp dport 67 {_BY_IP} accept",
        f"    ip saddr {_NOBODY_YET} drop",
        f"    {_BY_IP} accept",
        "    drop",
        "  }",
        "}",
        *(_element("add", network, mac, address) for mac, address in cards.items()),
    ]
    return "\n".join([*lines, ""])


def build_admission(network: str, mac: str, address: str) -> str:
    """The command after which this card may send from this address."""
    return _element("add", network, mac, address) + "\n"


def build_dismissal(network: str, mac: str, address: str) -> str:
    """The commands after which it may not, whether or not it could before."""
    return "\n".join([_element("add", network, mac, address), _element("delete", network, mac, address), ""])


def build_removal(network: str) -> str:
    """The commands after which there is no such table, whether or not there was one."""
    table = table_name(network)
    return f"table bridge {table} {{}}\ndelete table bridge {table}\n"


def parse_guests(listed: str) -> dict[str, str]:
    """{MAC: address} from what `nft -j list set` says; an address that no card has yet is none."""
    found = [item["set"] for item in json.loads(listed)["nftables"] if "set" in item]
    cards = [element["concat"] for guests in found for element in guests.get("elem", [])]
    return {mac: address for _tap, mac, address in cards if address != _NOBODY_YET}


def _element(verb: str, network: str, mac: str, address: str) -> str:
    tap = tap_name(network, mac)
    try:
        own = ipaddress.IPv4Address(address)
    except ValueError as error:
        raise BadSpec(f"no address: {address!r}") from error
    cards = ", ".join(f'"{tap}" . {mac.lower()} . {ip}' for ip in (own, _NOBODY_YET))
    return f"{verb} element bridge {table_name(network)} guests {{ {cards} }}"
