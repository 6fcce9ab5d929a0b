"""Firewall spec -> the text that `nft -f` takes: a table for IP and one for ARP, replaced in one step.

Source: nft(8). The chains come before those of libvirt's own network rules and only refuse: what they let pass, those
still judge.
"""

import ipaddress
import re

from .errors import BadSpec
from .specs import BridgeRule, FirewallSpec

PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_TABLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,60}")
_BRIDGE_NAME = re.compile(r"[a-z][a-z0-9-]{0,14}")


def build_table(spec: FirewallSpec) -> str:
    """The commands that make the tables, whether or not they are there; BadSpec for values that are no names."""
    for rule in spec.bridges:
        if not _BRIDGE_NAME.fullmatch(rule.bridge):
            raise BadSpec(f"no name of a bridge: {rule.bridge!r}")
    body = [*_input_chain(spec.bridges), *_forward_chain(spec.bridges)]
    arp = _arp_chain(spec.bridges)
    tables = [f"table inet {spec.name} {{", *body, "}", f"table arp {spec.name} {{", *arp, "}"]
    return "\n".join([*_emptied(spec.name), *tables, ""])


def build_removal(name: str) -> str:
    """The commands after which there are no such tables, whether or not there were."""
    return "\n".join([*_emptied(name), ""])


def _emptied(name: str) -> list[str]:
    if not _TABLE_NAME.fullmatch(name):
        raise BadSpec(f"no name of a table: {name!r}")
    return [line for kind in ("inet", "arp") for line in (f"table {kind} {name} {{}}", f"delete table {kind} {name}")]


def _input_chain(bridges: tuple[BridgeRule, ...]) -> list[str]:
    """To the host: answers to what the host began, DHCP, and DNS at the gateway."""
    lines = [
        "  chain to_host {",
        "    type filter hook input priority filter - 10; policy accept;",
    ]
    for rule in bridges:
        card = f'    iifname "{rule.bridge}"'
        lines.append(f"{card} ct state established,related accept")
        if rule.gateway:
            gateway = _address(rule.gateway)
            lines.append(f"{card} ip daddr {{ {gateway}, 255.255.255.255 }} udp dport 67 accept")
            lines.append(f"{card} ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport 53 accept")
        lines.append(f"{card} drop")
    return [*lines, "  }"]


def _forward_chain(bridges: tuple[BridgeRule, ...]) -> list[str]:
    """Through the host: never from one network of ours to another, nor back to the one it came from."""
    lines = [
        "  chain through_host {",
        "    type filter hook forward priority filter - 10; policy accept;",
    ]
    ours = ", ".join(f'"{rule.bridge}"' for rule in bridges)
    for rule in bridges:
        card = f'    iifname "{rule.bridge}"'
        lines.append(f"{card} oifname {{ {ours} }} drop")
        if not rule.outside:
            lines.extend([f"{card} drop", f'    oifname "{rule.bridge}" drop'])
            continue
        lines.append(f"{card} meta nfproto ipv6 drop")
        if not rule.private:
            lines.append(f"{card} ct state established,related accept")
            lines.append(f"{card} ip daddr {{ {', '.join(PRIVATE)} }} drop")
            lines.append(f'    oifname "{rule.bridge}" ct state new drop')
    return [*lines, "  }"]


def _arp_chain(bridges: tuple[BridgeRule, ...]) -> list[str]:
    """Linux answers ARP on any card for every address that it has: guests could list them, and speak to them."""
    lines = ["  chain to_host {", "    type filter hook input priority filter; policy accept;"]
    for rule in bridges:
        card = f'    iifname "{rule.bridge}"'
        if not rule.gateway:
            lines.append(f"{card} drop")
        elif rule.subnet:  # what a guest says of its own address, without being asked, is in it too
            lines.append(f"{card} arp daddr ip != {_subnet(rule.subnet)} drop")
    return [*lines, "  }"]


def _subnet(text: str) -> str:
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError as error:
        raise BadSpec(f"no subnet: {text!r}") from error


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise BadSpec(f"no address: {text!r}") from error
