"""XML goldens in pairs, and what libvirt writes back."""

from dataclasses import replace

import pytest
from lxml import etree

from hypervisor.domain_xml import build_domain, device_inventory, disk_files, parse_domain, parse_owner
from hypervisor.errors import BadSpec
from hypervisor.network_xml import build_network, parse_network
from hypervisor.xml_text import from_text
from tests.unit.hypervisor.goldens import BARE, FOLDER, NETWORK, PAIRS, PLAIN


@pytest.mark.parametrize("name", PAIRS)
def test_a_spec_becomes_its_golden_and_comes_back(name: str) -> None:
    spec, build, parse = PAIRS[name]
    golden = (FOLDER / f"{name}.xml").read_text()
    assert build(spec) == golden
    if parse is not None:
        assert parse(golden) == spec


def test_every_golden_has_its_spec() -> None:
    assert {path.stem for path in FOLDER.glob("*.xml")} == set(PAIRS)


def test_what_libvirt_writes_back_is_the_same_spec() -> None:
    written = (
        build_domain(PLAIN)
        .replace('machine="q35"', 'machine="pc-q35-7.2"')
        .replace('<memory unit="MiB">256<', '<memory unit="KiB">262144<')
        .replace("<devices>", '<devices><emulator>/usr/bin/q</emulator><input type="mouse" bus="ps2"/>')
    )
    assert parse_domain(written) == PLAIN
    assert device_inventory(written) == device_inventory(build_domain(PLAIN))


def test_a_netmask_is_a_prefix() -> None:
    written = build_network(NETWORK).replace('prefix="20"', 'netmask="255.255.240.0"')
    assert parse_network(written) == NETWORK


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<port isolated="yes"/>', ""),
        ('<port isolated="yes"/>', '<port isolated="no"/>'),
        ('type="qcow2" cache', 'type="raw" cache'),
        ("<readonly/>", ""),
        ('interface type="network"', 'interface type="bridge"'),
        ('<memory unit="MiB">', '<memory unit="GiB">'),
        ("slipway:owner", "slipway:stranger"),
        ("</devices>", ""),
    ],
)
def test_a_domain_that_is_not_as_we_make_them_is_refused(before: str, after: str) -> None:
    text = build_domain(PLAIN)
    assert before in text
    with pytest.raises(BadSpec):
        parse_domain(text.replace(before, after))


@pytest.mark.parametrize(
    "device",
    [
        "<filesystem type='mount'><source dir='/'/><target dir='host'/></filesystem>",
        "<hostdev mode='subsystem' type='usb'/>",
        "<interface type='network'/>",
        "<disk type='block' device='disk'><target dev='vdc' bus='virtio'/></disk>",
        "<channel type='unix'><target type='virtio' name='another'/></channel>",
    ],
)
def test_a_foreign_device_shows_in_the_inventory_A5(device: str) -> None:
    text = build_domain(PLAIN)
    assert device_inventory(text.replace("</devices>", device + "</devices>")) != device_inventory(text)


def test_the_owner_is_known_with_and_without_its_namespace() -> None:
    whole = from_text(build_domain(PLAIN))
    assert parse_owner(whole) == PLAIN.owner
    bare = f'<owner installation="0badcafe" vm="{PLAIN.owner.vm_id}"/>'
    assert parse_owner(from_text(bare)) == PLAIN.owner
    assert parse_owner(from_text('<owner installation="0badcafe" vm="nonsense"/>')) is None
    assert parse_owner(from_text("<domain/>")) is None


def test_disk_files_are_the_disks_and_the_seed_without_their_bases() -> None:
    assert disk_files(build_domain(PLAIN)) == [PLAIN.disks[0].path, PLAIN.seed_path]
    assert disk_files(build_domain(BARE)) == [disk.path for disk in BARE.disks]


def test_nothing_in_a_domain_listens_on_a_network() -> None:
    root = etree.fromstring(build_domain(PLAIN).encode())
    assert [listen.get("type") for listen in root.iter("listen")] == ["none"]
    assert {source.get("mode") for source in root.iterfind("devices/serial/source")} == {"bind"}
    assert not [element for element in root.iter() if element.get("port") not in (None, "0")]


def test_every_file_of_a_domain_has_a_format_and_every_chain_an_end_A9() -> None:
    for spec in (PLAIN, BARE, replace(PLAIN, seed_path=None)):
        root = etree.fromstring(build_domain(spec).encode())
        for disk in root.iterfind("devices/disk"):
            assert disk.find("driver").get("type") in ("qcow2", "raw")
            layer = disk
            while len(layer):
                below = layer.find("backingStore")
                assert below is not None, "libvirt would look into the file for what lies below"
                if len(below):
                    assert below.find("format").get("type") in ("qcow2", "raw")
                    assert below.find("source/seclabel").get("relabel") == "no"
                layer = below


def test_entities_are_not_resolved() -> None:
    bomb = '<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/hostname">]><domain><name>&a;</name></domain>'
    assert from_text(bomb).findtext("name") in (None, "")
    with pytest.raises(BadSpec):
        from_text("<domain>")
