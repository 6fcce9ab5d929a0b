"""Network spec <-> libvirt's network and nwfilter XML.

Sources: https://libvirt.org/formatnetwork.html and https://libvirt.org/formatnwfilter.html.
"""

import ipaddress
from pathlib import PurePosixPath
from uuid import UUID

from .errors import BadSpec
from .specs import NetworkKind, NetworkSpec
from .xml_text import Element, attribute, element, from_text, text_of, to_text

NETWORK_NAMESPACE = "https://slipway.dev/xmlns/network/1"
DNSMASQ_NAMESPACE = "http://libvirt.org/schemas/network/dnsmasq/1.0"
_BROADCAST = "ff:ff:ff:ff:ff:ff"
# A DHCP client's addresses before it has one.
_NOBODY_YET = {"srcipaddr": "0.0.0.0", "dstipaddr": "255.255.255.255"}  # noqa: S104 - nothing binds to it


def build_network(spec: NetworkSpec) -> str:
    """The XML of a NAT network with DHCP and DNS, or of an isolated one with neither."""
    ours: dict[str, object] = {
        "filter": spec.filter_name,
        "filter_uuid": spec.filter_uuid,
        "hosts_dir": spec.hosts_dir,
    }
    tag = element("network", ours, namespace=NETWORK_NAMESPACE, prefix="slipway")
    if spec.kind is NetworkKind.ISOLATED:
        return to_text(_isolated(spec, tag))
    options = [
        "dhcp-ignore-names",  # a name that a guest sends must not become one that its neighbours resolve
        "dhcp-ignore=tag:!known",  # nor can it take leases of free addresses under invented MACs
        f"dhcp-hostsdir={spec.hosts_dir}",
    ]
    dhcp = element("dhcp", {}, element("range", {"start": spec.dhcp_first, "end": spec.dhcp_last}))
    return to_text(
        element(
            "network",
            {},
            element("name", {}, spec.name),
            element("uuid", {}, str(spec.uuid)),
            element("metadata", {}, tag),
            element("forward", {"mode": "nat"}),
            # With STP a new card would forward nothing for its first four seconds.
            element("bridge", {"name": spec.bridge, "stp": "off", "delay": "0"}),
            element("domain", {"name": spec.domain, "localOnly": "yes"}),
            element("ip", {"address": spec.gateway, "prefix": spec.prefix_length}, dhcp),
            _dnsmasq("options", {}, *(_dnsmasq("option", {"value": option}) for option in options)),
        )
    )


def _isolated(spec: NetworkSpec, tag: Element) -> Element:
    """A bridge without an address of the host: libvirt then runs no DHCP, and forwards nothing."""
    return element(
        "network",
        {},
        element("name", {}, spec.name),
        element("uuid", {}, str(spec.uuid)),
        element("metadata", {}, tag),
        element("bridge", {"name": spec.bridge, "stp": "off", "delay": "0"}),
        element("domain", {"name": spec.domain, "localOnly": "yes"}),
    )


def parse_network(text: str) -> NetworkSpec:
    """The spec that a network's XML stands for; BadSpec when it is not one of ours."""
    root = from_text(text)
    tag = f"metadata/{{{NETWORK_NAMESPACE}}}network"
    isolated = root.find("forward") is None and root.find("ip") is None
    if attribute(root, "bridge", "stp") != "off" or not (isolated or attribute(root, "forward", "mode") == "nat"):
        raise BadSpec("a network of another kind")
    return NetworkSpec(
        name=text_of(root, "name"),
        uuid=UUID(text_of(root, "uuid")),
        bridge=attribute(root, "bridge", "name"),
        gateway="" if isolated else attribute(root, "ip", "address"),
        prefix_length=0 if isolated else _prefix_length(root),
        dhcp_first="" if isolated else attribute(root, "ip/dhcp/range", "start"),
        dhcp_last="" if isolated else attribute(root, "ip/dhcp/range", "end"),
        filter_name=attribute(root, tag, "filter"),
        filter_uuid=UUID(attribute(root, tag, "filter_uuid")),
        hosts_dir=PurePosixPath(attribute(root, tag, "hosts_dir")),
        domain=attribute(root, "domain", "name"),
        kind=NetworkKind.ISOLATED if isolated else NetworkKind.NAT,
    )


def dnsmasq_options(text: str) -> list[str]:
    """The lines that a network's XML adds to dnsmasq's configuration."""
    options = from_text(text).iterfind(f"{{{DNSMASQ_NAMESPACE}}}options/{{{DNSMASQ_NAMESPACE}}}option")
    return [option.get("value", "") for option in options]


def build_reload(gateway: str) -> str:
    """A DNS entry that means nothing: adding and removing it makes libvirt tell dnsmasq to read its files again."""
    return to_text(element("host", {"ip": gateway}, element("hostname", {}, "reload")))


def build_filter(spec: NetworkSpec) -> str:
    """The anti-spoofing filter of a network's cards, complete in itself: what no rule accepts is dropped.

    Seen from the guest, "out" is what it sends. A guest may send, from its own MAC alone: DHCP requests, ARP and IPv4
    from its own address, but never as a DHCP server (`no-ip-spoofing` of libvirt would let that pass). It hears only
    what is meant for it, and broadcasts. All else falls through to the last rule: IPv6 with its router advertisements,
    VLAN tags, RARP, LLC.
    """
    uuid = element("uuid", {}, str(spec.filter_uuid))
    return to_text(element("filter", {"name": spec.filter_name, "chain": "root"}, uuid, *_rules()))


def _rules() -> list[Element]:
    from_me = {"srcmacaddr": "$MAC"}
    my_arp = {"arpsrcmacaddr": "$MAC", "arpsrcipaddr": "$IP"}
    dhcp_ports = {"protocol": "udp", "srcportstart": 68, "dstportstart": 67}
    return [
        _rule("drop", "out", 100, "mac", {"match": "no", **from_me}),
        _rule("drop", "out", 110, "ip", {"protocol": "udp", "srcportstart": 67}),
        _rule("accept", "out", 120, "ip", {**_NOBODY_YET, **dhcp_ports}),
        _rule("accept", "out", 130, "ip", {"srcipaddr": "$IP"}),
        _rule("accept", "out", 140, "arp", {"opcode": "Request", **my_arp}),
        _rule("accept", "out", 150, "arp", {"opcode": "Reply", **my_arp}),
        _rule("accept", "in", 200, "arp", {"dstmacaddr": "$MAC"}),
        _rule("accept", "in", 210, "arp", {"dstmacaddr": _BROADCAST}),
        _rule("accept", "in", 220, "ip", {"dstmacaddr": "$MAC"}),
        _rule("accept", "in", 230, "ip", {"dstmacaddr": _BROADCAST}),
        element("rule", {"action": "drop", "direction": "inout", "priority": 1000}),
    ]


def _rule(action: str, direction: str, priority: int, protocol: str, match: dict[str, object]) -> Element:
    attributes: dict[str, object] = {"action": action, "direction": direction, "priority": priority}
    return element("rule", attributes, element(protocol, match))


def _prefix_length(root: Element) -> int:
    """The prefix's length, also where it is written as a netmask."""
    found = root.find("ip")
    if found is not None and found.get("prefix"):
        return int(found.get("prefix", ""))
    return ipaddress.IPv4Network(f"0.0.0.0/{attribute(root, 'ip', 'netmask')}").prefixlen


def _dnsmasq(tag: str, attributes: dict[str, object], *children: Element) -> Element:
    return element(tag, attributes, *children, namespace=DNSMASQ_NAMESPACE, prefix="dnsmasq")


def parse_binding(text: str) -> tuple[str, str]:
    """(MAC, address) of a card that a filter is bound to. Source: https://libvirt.org/formatnwfilter.html."""
    root = from_text(text)
    return attribute(root, "mac", "address"), attribute(root, "filterref/parameter[@name='IP']", "value")
