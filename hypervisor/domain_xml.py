"""Domain spec <-> libvirt's domain XML. No policy: what is not in the spec is the same for every domain.

Sources: https://libvirt.org/formatdomain.html, and measurements on libvirt 9.0 with QEMU 7.2.
"""

from collections import Counter
from collections.abc import Collection
from pathlib import PurePosixPath
from uuid import UUID

from .domain_devices import (
    IDENTITY_CHANNEL,
    RUN_CHANNEL,
    build_devices,
    parse_channel,
    parse_disks,
    parse_nic,
    parse_seed,
)
from .domain_memory import QEMU_NAMESPACE, Ram, build_arguments, parse_memory
from .errors import BadSpec
from .specs import DomainSpec, OwnerTag
from .xml_text import Element, attribute, element, from_text, text_of, to_text

OWNER_NAMESPACE = "https://slipway.dev/xmlns/domain/1"

_OF_LIBVIRT = frozenset({"controller", "emulator", "input", "audio"})  # what it adds of its own accord
_GIVEN = {"serial": 1, "console": 1, "channel": 3, "graphics": 1, "video": 1, "memballoon": 1, "rng": 1, "panic": 1}

_CPU_MODES = ("maximum", "host-passthrough")
_UNITS_PER_MIB = {"KiB": 1024, "MiB": 1}


def build_domain(spec: DomainSpec) -> str:
    """The XML of a domain; BadSpec for values that XML cannot carry."""
    return to_text(_domain(spec, None if spec.memory is None else Ram(spec.memory.path, shared=True)))


def build_clone(spec: DomainSpec, ram: Ram) -> str:
    """The XML of a clone that waits for its template's state; for one start only, never to be kept."""
    return to_text(_domain(spec, ram, "-incoming", "defer"))


def _domain(spec: DomainSpec, ram: Ram | None, *arguments: str) -> Element:
    return element(
        "domain",
        {"type": spec.virt_type},
        element("name", {}, spec.name),
        element("uuid", {}, str(spec.uuid)),
        element("metadata", {}, _owner(spec.owner)),
        element("memory", {"unit": "MiB"}, str(spec.memory_mib)),
        element("vcpu", {"placement": "static"}, str(spec.vcpus)),
        element("os", {}, element("type", {"arch": spec.arch, "machine": spec.machine}, "hvm")),
        element("features", {}, element("acpi"), element("apic")),
        _cpu(spec.cpu),
        element("clock", {"offset": "utc"}),
        element("on_poweroff", {}, "destroy"),
        element("on_reboot", {}, "restart"),
        # A panicked guest stays as it is: its state is then "crashed", also after a restart of libvirtd, its last
        # screen can be read, and it can neither reboot in a loop nor start by itself.
        element("on_crash", {}, "preserve"),
        element("devices", {}, *build_devices(spec)),
        *build_arguments(spec.memory_mib, ram, *arguments),
        _capabilities(),
    )


def parse_domain(text: str) -> DomainSpec:
    """The spec that a domain's XML stands for; BadSpec when it is not one of ours."""
    root = from_text(text)
    owner = parse_owner(root)
    if owner is None:
        raise BadSpec("the domain has no owner tag")
    devices = root.find("devices")
    if devices is None:
        raise BadSpec("the domain has no devices")
    return DomainSpec(
        uuid=UUID(text_of(root, "uuid")),
        name=text_of(root, "name"),
        owner=owner,
        vcpus=int(text_of(root, "vcpu")),
        memory_mib=_memory_mib(root),
        disks=parse_disks(devices),
        nics=tuple(parse_nic(nic) for nic in devices.findall("interface")),
        serial_socket=PurePosixPath(attribute(devices, "serial/source", "path")),
        seed_path=parse_seed(devices),
        virt_type=root.get("type", ""),
        cpu=_parse_cpu(root),
        arch=attribute(root, "os/type", "arch"),
        machine=machine_family(attribute(root, "os/type", "machine")),
        memory=parse_memory(root),
        identity_socket=parse_channel(devices, IDENTITY_CHANNEL),
        run_socket=parse_channel(devices, RUN_CHANNEL),
    )


def parse_owner(root: Element) -> OwnerTag | None:
    """The owner tag of a domain's tree, or of the tag itself as libvirt's metadata call returns it; None if absent.

    That call drops the namespace of the element that it returns (libvirt 9.0), so the tag is known by its place.
    """
    name = f"{{{OWNER_NAMESPACE}}}owner"
    tag = root if root.tag in {name, "owner"} else root.find(f"metadata/{name}")
    if tag is None:
        return None
    try:
        return OwnerTag(tag.get("installation", ""), UUID(tag.get("vm", "")))
    except ValueError:
        return None


def device_inventory(text: str) -> list[str]:
    """What hardware a domain's XML holds, as sorted words such as "disk:disk:virtio"; to compare two domains by.

    Controllers, addresses and input devices that libvirt adds of its own accord are left out.
    """
    words = []
    for device in from_text(text).iterfind("devices/*"):
        target = device.find("target")
        bus = "" if target is None else target.get("bus", target.get("name", ""))
        words.append(f"{device.tag!s}:{device.get('device', device.get('type', ''))}:{bus}")
    return sorted(word for word in words if word.split(":")[0] not in _OF_LIBVIRT)


def foreign_devices(text: str, disks: Collection[PurePosixPath], macs: Collection[str]) -> list[str]:
    """The devices of a domain that we did not give it, as words such as "hostdev" or "disk /dev/sda".

    `disks` and `macs` are the files and the cards that it may have; of everything else we give a fixed number.
    """
    left, foreign = Counter(_GIVEN), []
    for device in from_text(text).iterfind("devices/*"):
        kind = str(device.tag)
        if kind in _OF_LIBVIRT:
            continue
        if kind == "disk":
            source = _source(device)
            known = PurePosixPath(source) in disks
            kind = f"disk {source}"
        elif kind == "interface":
            mac = attribute(device, "mac", "address")
            known = mac.lower() in macs
            kind = f"interface {mac}"
        else:
            known = left[kind] > 0
            left[kind] -= 1
        if not known:
            foreign.append(kind)
    return sorted(set(foreign))


def _source(disk: Element) -> str:
    """What is behind a disk: a file, a device, or whatever else its source names."""
    source = disk.find("source")
    found = [] if source is None else [source.get(name) for name in ("file", "dev", "name", "protocol")]
    return next((str(value) for value in found if value), "empty")


def machine_family(machine: str) -> str:
    """The machine's alias: libvirt writes "pc-q35-7.2" where "q35" was asked for."""
    if machine.startswith("pc-q35-"):
        return "q35"
    return "pc" if machine.startswith("pc-i440fx-") else machine


def _owner(owner: OwnerTag) -> Element:
    attributes: dict[str, object] = {"installation": owner.installation_id, "vm": owner.vm_id}
    return element("owner", attributes, namespace=OWNER_NAMESPACE, prefix="slipway")


def _cpu(cpu: str) -> Element:
    if cpu in _CPU_MODES:
        return element("cpu", {"mode": cpu})
    model = element("model", {"fallback": "forbid"}, cpu)
    return element("cpu", {"mode": "custom", "match": "exact", "check": "none"}, model)


def _parse_cpu(root: Element) -> str:
    mode = attribute(root, "cpu", "mode")
    return text_of(root, "cpu/model") if mode == "custom" else mode


def _capabilities() -> Element:
    """Switches off some 400 queries about the CPU, 70 % of the time of a start (measured on libvirt 9.0)."""
    delete = element("del", {"capability": "cpu-unavailable-features"}, namespace=QEMU_NAMESPACE, prefix="qemu")
    return element("capabilities", {}, delete, namespace=QEMU_NAMESPACE, prefix="qemu")


def _memory_mib(root: Element) -> int:
    unit = attribute(root, "memory", "unit")
    if unit not in _UNITS_PER_MIB:
        raise BadSpec(f"memory in {unit}")
    return int(text_of(root, "memory")) // _UNITS_PER_MIB[unit]


def disk_files(text: str) -> list[PurePosixPath]:
    """The files of a domain's disks, in the XML's order."""
    sources = from_text(text).iterfind("devices/disk/source")
    return [PurePosixPath(source.get("file", "")) for source in sources if source.get("file")]
