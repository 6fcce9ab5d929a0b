"""Picking a private subnet that nothing on this host uses: two installations, and the office LAN, must not meet."""

import hashlib
import ipaddress
import json
import subprocess
from collections.abc import Iterable

# 10.64.0.0/10 is seldom used by offices and never by libvirt (192.168.122.0/24) or Docker (172.17.0.0/16) by default
POOL = ipaddress.ip_network("10.64.0.0/10")


def pick(prefix_length: int, hint: str, used: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """Return a subnet of POOL that overlaps none of `used`; the same hint tries the same one first. LookupError."""
    taken = list(used)
    count = 2 ** (prefix_length - POOL.prefixlen)
    first = int.from_bytes(hashlib.sha256(hint.encode()).digest()[:4], "big") % count
    size = 2 ** (32 - prefix_length)
    for number in range(count):
        start = int(POOL.network_address) + ((first + number) % count) * size
        candidate = ipaddress.ip_network((start, prefix_length))
        assert isinstance(candidate, ipaddress.IPv4Network)
        if not any(candidate.overlaps(other) for other in taken):
            return candidate
    raise LookupError("every private subnet is in use; set SLIPWAY_SUBNET")


def used_subnets() -> list[ipaddress.IPv4Network]:
    """Return what this host has an address in or a route to, the default route excepted (`ip -json`)."""
    found: list[ipaddress.IPv4Network] = []
    routes = subprocess.run(["ip", "-json", "-4", "route", "show", "table", "all"], capture_output=True, timeout=10, check=True)
    for route in json.loads(routes.stdout or b"[]"):
        destination = route.get("dst", "default")
        if destination != "default":
            network = ipaddress.ip_network(destination, strict=False)
            assert isinstance(network, ipaddress.IPv4Network)
            found.append(network)
    return found


def free_subnet(prefix_length: int, hint: str = "") -> ipaddress.IPv4Network:
    """Return a free private subnet of this size, such as 10.71.16.0/20. LookupError when there is none."""
    return pick(prefix_length, hint, used_subnets())
