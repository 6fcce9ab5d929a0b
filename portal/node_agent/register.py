"""What a hypervisor host tells of itself, and the pool, network and folders that it needs to have."""

import ipaddress
import os
import uuid
from contextlib import suppress
from pathlib import Path, PurePosixPath

from django.conf import settings

from hypervisor.api import Hypervisor
from hypervisor.errors import AlreadyExists
from hypervisor.specs import BridgeRule, FirewallSpec, HostFacts, NetworkSpec, PoolSpec
from hypervisor.specs import NetworkKind as SpecKind
from hypervisor.subnets import free_subnet, used_subnets
from vms.models import Network, Node, StoragePool
from vms.states import NetworkKind

ADDRESSES_AT_MOST = 16  # container engines give a host any number
PREFIX_LENGTH = 20  # 4,093 machines on one network


def register(hypervisor: Hypervisor) -> Node:
    """Write this host's row, and make sure that its folders, pool and network exist. Safe to repeat."""
    facts = hypervisor.host()
    node = _write_node(facts, hypervisor.fingerprint())
    prepare_folders()
    ensure_pool(node, hypervisor)
    ensure_networks(node, hypervisor)
    return node


def _write_node(facts: HostFacts, fingerprint: str) -> Node:
    node, _created = Node.objects.update_or_create(
        name=settings.NODE_NAME,
        defaults={
            "gateway_url": settings.GATEWAY_URL,
            "virt_type": settings.VIRT_TYPE or ("kvm" if "kvm" in facts.virt_types else "qemu"),
            "arch": facts.arch,
            "cpu_model": facts.cpu_model[:64],
            "cpu_flags": sorted(facts.cpu_flags),
            "vcpus": facts.vcpus,
            "memory_mib": facts.memory_mib,
            "memory_free_mib": facts.memory_free_mib,
            "fingerprint": fingerprint,
            "addresses": ",".join(facts.addresses[:ADDRESSES_AT_MOST]),
            "versions": {"hypervisor": facts.hypervisor_version, "library": facts.library_version},
            "hypervisor_ok": True,
        },
    )
    return node


def prepare_folders() -> None:
    """Make the folders of DATA_DIR: QEMU's user passes through all and owns none.

    libvirt makes the serial sockets; could QEMU write to `sock`, one that was broken out of could take another's.
    """
    root = Path(settings.DATA_DIR)
    for name in ("", "pool", "images", "sock", "templates"):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
        if os.geteuid() == 0:
            os.chown(folder, 0, 0)


def ensure_pool(node: Node, hypervisor: Hypervisor) -> StoragePool:
    """The pool exists, and its row says how much room it has."""
    spec = PoolSpec(f"slipway-{settings.INSTALLATION_ID}", PurePosixPath(settings.DATA_DIR) / "pool")
    facts = hypervisor.ensure_pool(spec)
    pool, _created = StoragePool.objects.update_or_create(
        node=node,
        name=spec.name,
        defaults={
            "path": str(facts.path),
            "capacity_bytes": facts.capacity_bytes,
            "free_bytes": facts.free_bytes,
        },
    )
    return pool


def ensure_networks(node: Node, hypervisor: Hypervisor) -> None:
    """The networks exist as their rows say, and the host's packet filter knows their bridges."""
    try:
        for kind in NetworkKind:
            ensure_network(node, hypervisor, kind)
    finally:  # whatever one of them lacks, guests run on the others
        ensure_firewall(node, hypervisor)


def ensure_network(node: Node, hypervisor: Hypervisor, kind: str = NetworkKind.VMS) -> Network:
    """The network of this kind exists as its row says; a first one gets the configured subnet or a free one."""
    part = "" if kind == NetworkKind.VMS else f"-{kind}"
    name = f"slipway-{settings.INSTALLATION_ID}{part}"
    network = Network.objects.filter(node=node, name=name).first()
    if network is None:
        network, _created = Network.objects.get_or_create(
            node=node,
            name=name,
            defaults={
                "kind": kind,
                "bridge": f"sw-{settings.INSTALLATION_ID}{part[:2]}",
                "subnet": _subnet(node, kind),
                # sandboxes come and go by the second: their cards are known to a guard (hypervisor/nft_guard.py)
                "filter_name": f"slipway-{settings.INSTALLATION_ID}-guest" if kind == NetworkKind.VMS else "",
            },
        )
    hypervisor.ensure_network(network_spec(network))
    given = hypervisor.addresses(network.name)
    for mac, address in network.nics.filter(linked=True).values_list("mac", "address"):  # heals a folder that was lost
        if mac not in given:  # one that differs is being exchanged by a reset
            with suppress(AlreadyExists):
                hypervisor.ensure_address(network.name, mac, address)
    return network


def _subnet(node: Node, kind: str) -> str:
    """Return the subnet of a new network: one that meets neither the host's nor another one of ours."""
    if kind == NetworkKind.VMS and settings.SUBNET:
        return str(settings.SUBNET)
    ours = [ipaddress.IPv4Network(subnet) for subnet in node.networks.values_list("subnet", flat=True)]
    hint = settings.INSTALLATION_ID if kind == NetworkKind.VMS else f"{settings.INSTALLATION_ID}-{kind}"
    return str(free_subnet(PREFIX_LENGTH, hint=hint, used=[*used_subnets(), *ours]))


def network_spec(network: Network) -> NetworkSpec:
    """Return the spec of a network's row: the first address is the gateway's, the rest are given out."""
    subnet = ipaddress.ip_network(network.subnet)
    isolated = network.kind == NetworkKind.ISOLATED
    hosts = "dhcp" if network.kind == NetworkKind.VMS else f"dhcp-{network.kind}"
    return NetworkSpec(
        name=network.name,
        uuid=uuid.uuid5(network.id, "network"),
        bridge=network.bridge,
        gateway=network.gateway,
        prefix_length=0 if isolated else subnet.prefixlen,
        dhcp_first="" if isolated else str(subnet[2]),
        dhcp_last="" if isolated else str(subnet[-2]),
        filter_name=network.filter_name,
        filter_uuid=uuid.uuid5(network.id, "filter"),
        hosts_dir=PurePosixPath(settings.DATA_DIR) / hosts,
        kind=SpecKind.ISOLATED if isolated else SpecKind.NAT,
    )


def ensure_firewall(node: Node, hypervisor: Hypervisor) -> None:
    """Guests reach nothing of the host but DHCP and DNS, no neighbour, and sandboxes no private address (A17)."""
    rules = tuple(
        BridgeRule(
            bridge=network.bridge,
            gateway=network.gateway,
            outside=network.kind != NetworkKind.ISOLATED,
            private=network.kind == NetworkKind.VMS,
            subnet=network.subnet,
        )
        for network in node.networks.order_by("name")
    )
    hypervisor.ensure_firewall(FirewallSpec(firewall_name(), rules))


def ensure_guards(node: Node, hypervisor: Hypervisor) -> None:
    """The guards against spoofing are there, also after somebody flushed the host's packet filter."""
    for network in node.networks.filter(filter_name=""):
        hypervisor.ensure_network(network_spec(network))


def firewall_name() -> str:
    return f"slipway_{settings.INSTALLATION_ID}"
