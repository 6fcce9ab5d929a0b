"""Picking a subnet for a network of ours that meets none that the host knows."""

import hashlib
import json
import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import Any

from .errors import HypervisorError

# RFC 1918. The upper half of 10/8 first: home and office networks, VPNs and container engines rarely reach there.
_RANGES = tuple(IPv4Network(text) for text in ("10.128.0.0/9", "172.16.0.0/12", "192.168.0.0/16"))


def free_subnet(prefix_length: int, hint: str = "", used: Iterable[IPv4Network] | None = None) -> IPv4Network:
    """A private subnet that overlaps none of `used`, by default what the host has routes and addresses in.

    The same hint gives the same subnet as long as it is free, and different hints different ones, so that two
    installations do not meet even while one of their networks is down. HypervisorError when there is none left.
    """
    taken = list(used_subnets() if used is None else used)
    start = int.from_bytes(hashlib.sha256(hint.encode()).digest()[:4], "big")
    for whole in _RANGES:
        count = 1 << (prefix_length - whole.prefixlen) if prefix_length >= whole.prefixlen else 0
        size = 1 << (32 - prefix_length)
        for offset in range(count):
            first = int(whole.network_address) + (start + offset) % count * size
            subnet = IPv4Network((first, prefix_length))
            if not any(subnet.overlaps(other) for other in taken):
                return subnet
    raise HypervisorError(f"no private /{prefix_length} subnet is free on this host")


def host_addresses() -> list[str]:
    """The host's own IPv4 addresses, without those of the loopback card. HypervisorError."""
    cards = _ip("address", "show", "scope", "global")
    return [address["local"] for card in cards for address in card.get("addr_info", ())]


def used_subnets() -> list[IPv4Network]:
    """The destinations of the host's IPv4 routes, its own addresses among them, without the default route."""
    routes = _ip("route", "show", "table", "all")
    return [IPv4Network(route["dst"]) for route in routes if route["dst"] not in {"default", "0.0.0.0/0"}]


def _ip(*words: str) -> list[dict[str, Any]]:
    try:
        answer = subprocess.run(["ip", "-json", "-4", *words], capture_output=True, check=True, timeout=10)
        found: list[dict[str, Any]] = json.loads(answer.stdout or b"[]")
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise HypervisorError(f"cannot list the host's {words[0]}: {error}") from error
    return found
