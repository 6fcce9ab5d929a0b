"""The specs of networks and of the packet filter; imported from `hypervisor.specs`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from uuid import UUID


class NetworkKind(StrEnum):
    """`nat` leads out and has DHCP and DNS; `isolated` is a bridge alone: no host on it, no DHCP, no way out."""

    NAT = "nat"
    ISOLATED = "isolated"


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network of ours: STP off, ports isolated from each other, and a filter against spoofing.

    That is libvirt's nwfilter `filter_name`; or, where it is "", a table of our own (hypervisor/nft_guard.py), which
    takes one transaction for a card where libvirt takes thirty, half a second in a clone's life.
    `hosts_dir` is the folder of the DHCP host entries, made if it is missing; dnsmasq's user must be able to reach it.
    An isolated network has no gateway, prefix length or range: "" and 0.
    """

    name: str
    uuid: UUID
    bridge: str
    gateway: str
    prefix_length: int
    dhcp_first: str
    dhcp_last: str
    filter_name: str
    filter_uuid: UUID
    hosts_dir: PurePosixPath
    domain: str = "slipway.internal"
    kind: NetworkKind = NetworkKind.NAT


@dataclass(frozen=True, slots=True)
class BridgeRule:
    """What the guests on a bridge may reach: of the host only DHCP and DNS at `gateway`, no other guest, no IPv6.

    `gateway` "": nothing of the host. `outside` False: nothing is forwarded. `private` False: no private, shared or
    link-local address either. `subnet`: the bridge's, "10.71.0.0/20"; outside of it guests may ask (ARP) for none.
    """

    bridge: str
    gateway: str = ""
    outside: bool = True
    private: bool = True
    subnet: str = ""


@dataclass(frozen=True, slots=True)
class FirewallSpec:
    """The host's packet filter for our bridges; `name` is that of its nftables tables, letters, digits, `_`."""

    name: str
    bridges: tuple[BridgeRule, ...]
