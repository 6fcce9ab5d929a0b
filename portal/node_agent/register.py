"""What a hypervisor host tells of itself, and the pool, network and folders that it needs to have."""

import ipaddress
import os
import uuid
from pathlib import Path, PurePosixPath

from django.conf import settings

from hypervisor.api import Hypervisor
from hypervisor.specs import HostFacts, NetworkSpec, PoolSpec
from hypervisor.subnets import free_subnet
from vms.models import Network, Node, StoragePool

PREFIX_LENGTH = 20  # 4,093 machines on one network


def register(hypervisor: Hypervisor) -> Node:
    """Write this host's row, and make sure that its folders, pool and network exist. Safe to repeat."""
    facts = hypervisor.host()
    node = _write_node(facts)
    prepare_folders()
    ensure_pool(node, hypervisor)
    ensure_network(node, hypervisor)
    return node


def _write_node(facts: HostFacts) -> Node:
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
    for name in ("", "pool", "images", "sock"):
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


def ensure_network(node: Node, hypervisor: Hypervisor) -> Network:
    """The NAT network exists as its row says; a first one gets the configured subnet or a free one."""
    name = f"slipway-{settings.INSTALLATION_ID}"
    network = Network.objects.filter(node=node, name=name).first()
    if network is None:
        subnet = settings.SUBNET or str(free_subnet(PREFIX_LENGTH, hint=settings.INSTALLATION_ID))
        network, _created = Network.objects.get_or_create(
            node=node,
            name=name,
            defaults={
                "bridge": f"sw-{settings.INSTALLATION_ID}",
                "subnet": subnet,
                "filter_name": f"slipway-{settings.INSTALLATION_ID}-guest",
            },
        )
    hypervisor.ensure_network(network_spec(network))
    for mac, address in network.nics.values_list("mac", "address"):  # heals a folder that was lost
        hypervisor.ensure_address(network.name, mac, address)
    return network


def network_spec(network: Network) -> NetworkSpec:
    """Return the spec of a network's row: the first address is the gateway's, the rest are given out."""
    subnet = ipaddress.ip_network(network.subnet)
    return NetworkSpec(
        name=network.name,
        uuid=uuid.uuid5(network.id, "network"),
        bridge=network.bridge,
        gateway=str(subnet[1]),
        prefix_length=subnet.prefixlen,
        dhcp_first=str(subnet[2]),
        dhcp_last=str(subnet[-2]),
        filter_name=network.filter_name,
        filter_uuid=uuid.uuid5(network.id, "filter"),
        hosts_dir=PurePosixPath(settings.DATA_DIR) / "dhcp",
    )
