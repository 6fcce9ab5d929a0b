"""Specs and the XML that they become, in pairs: `<name>` here and `tests/golden/<name>.xml` there.

After a wanted change write them anew with `python -m tests.unit.hypervisor.goldens` and read the difference.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from uuid import UUID

from hypervisor.domain_memory import Ram
from hypervisor.domain_xml import build_clone, build_domain, parse_domain
from hypervisor.network_xml import build_filter, build_network, parse_network
from hypervisor.nft_rules import build_table
from hypervisor.specs import (
    BridgeRule,
    DiskSpec,
    DomainSpec,
    FirewallSpec,
    MemorySpec,
    NetworkKind,
    NetworkSpec,
    NicSpec,
    OwnerTag,
    PoolSpec,
    VolumeSpec,
)
from hypervisor.volume_xml import build_pool, build_volume, parse_pool, parse_volume

FOLDER = Path(__file__).parents[2] / "golden"
DATA = PurePosixPath("/var/lib/slipway/0badcafe")
DOMAIN_UUID = UUID("6f1c5f0a-6d43-4a77-9a52-0c4f6a1f7d10")

PLAIN = DomainSpec(
    uuid=DOMAIN_UUID,
    name=f"sw-0badcafe-{DOMAIN_UUID}",
    owner=OwnerTag("0badcafe", UUID("0d7f7f2e-5a0b-4a53-8d39-2a0c1d6b9a77")),
    vcpus=1,
    memory_mib=256,
    disks=(DiskSpec(DATA / "pool/a.qcow2", 0, DATA / "images/micro.qcow2"),),
    nics=(NicSpec("slipway-0badcafe", "52:54:00:12:34:56", "10.71.0.9", "slipway-0badcafe-guest"),),
    serial_socket=DATA / f"sock/{DOMAIN_UUID}.serial",
    seed_path=DATA / f"pool/{DOMAIN_UUID}.iso",
)
BARE = DomainSpec(
    uuid=DOMAIN_UUID,
    name="sw-0badcafe-bare",
    owner=PLAIN.owner,
    vcpus=4,
    memory_mib=2048,
    disks=(DiskSpec(DATA / "pool/a.qcow2", 0), DiskSpec(DATA / "pool/b.qcow2", 1, DATA / "images/data.raw", "raw")),
    nics=(),
    serial_socket=DATA / "sock/bare.serial",
    virt_type="kvm",
    cpu="EPYC",
    machine="pc",
)
NETWORK = NetworkSpec(
    name="slipway-0badcafe",
    uuid=UUID("b5f0a1c2-0000-4000-8000-000000000001"),
    bridge="sw-0badcafe",
    gateway="10.71.0.1",
    prefix_length=20,
    dhcp_first="10.71.0.2",
    dhcp_last="10.71.15.254",
    filter_name="slipway-0badcafe-guest",
    filter_uuid=UUID("b5f0a1c2-0000-4000-8000-000000000002"),
    hosts_dir=DATA / "dhcp",
)
BUILDER = replace(
    PLAIN,
    memory=MemorySpec(DATA / "templates/t/ram"),
    identity_socket=DATA / f"sock/{DOMAIN_UUID}.identity",
    run_socket=DATA / f"sock/{DOMAIN_UUID}.run",
)
CLONE = replace(
    BUILDER,
    memory=None,
    disks=(DiskSpec(DATA / "pool/a.qcow2", 0, DATA / "templates/t/disk.qcow2", below=(DATA / "images/micro.qcow2",)),),
    nics=(NicSpec("", "52:54:00:12:34:56", "", "", linked=False),),
)
ISOLATED = replace(
    NETWORK,
    name="slipway-0badcafe-isolated",
    kind=NetworkKind.ISOLATED,
    gateway="",
    prefix_length=0,
    dhcp_first="",
    dhcp_last="",
)
FIREWALL = FirewallSpec(
    "slipway_0badcafe",
    (
        BridgeRule("sw-0badcafe", "10.71.0.1", subnet="10.71.0.0/20"),
        BridgeRule("sw-0badcafe-n", "10.71.16.1", private=False, subnet="10.71.16.0/20"),
        BridgeRule("sw-0badcafe-i", outside=False, subnet="10.71.32.0/20"),
    ),
)
POOL = PoolSpec("slipway-0badcafe", DATA / "pool")
OVERLAY = VolumeSpec(POOL.name, "a.qcow2", 2 * 2**30, DATA / "images/micro.qcow2")
EMPTY = VolumeSpec(POOL.name, "b.qcow2", 2**30)


def parse_overlay(text: str) -> VolumeSpec:
    return parse_volume(text, POOL.name)


def build_waiting(spec: DomainSpec) -> str:
    return build_clone(spec, Ram(PurePosixPath("/proc/4711/fd/3")))


PAIRS: dict[str, tuple[object, Callable[..., str], Callable[[str], object] | None]] = {
    "domain": (PLAIN, build_domain, parse_domain),
    "domain-bare": (BARE, build_domain, parse_domain),
    "domain-builder": (BUILDER, build_domain, parse_domain),
    "domain-clone": (CLONE, build_domain, parse_domain),
    "domain-clone-waiting": (CLONE, build_waiting, None),
    "network-isolated": (ISOLATED, build_network, parse_network),
    "network": (NETWORK, build_network, parse_network),
    "filter": (NETWORK, build_filter, None),
    "pool": (POOL, build_pool, parse_pool),
    "volume-overlay": (OVERLAY, build_volume, parse_overlay),
    "volume-empty": (EMPTY, build_volume, parse_overlay),
}

if __name__ == "__main__":
    for name, (spec, build, _parse) in PAIRS.items():
        (FOLDER / f"{name}.xml").write_text(build(spec))
    (FOLDER / "firewall.nft").write_text(build_table(FIREWALL))
