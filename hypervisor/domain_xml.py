"""Domain spec <-> libvirt's domain XML. No policy: what is not in the spec is the same for every domain.

Sources: https://libvirt.org/formatdomain.html, and measurements on libvirt 9.0 with QEMU 7.2.
"""

from pathlib import PurePosixPath
from uuid import UUID

from .errors import BadSpec
from .specs import DiskSpec, DomainSpec, NicSpec, OwnerTag
from .xml_text import Element, attribute, element, from_text, text_of, to_text

OWNER_NAMESPACE = "https://slipway.dev/xmlns/domain/1"
QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
AGENT_CHANNEL = "org.qemu.guest_agent.0"
SEED_TARGET = "vdz"
BALLOON_PERIOD_SECONDS = 10

_CPU_MODES = ("maximum", "host-passthrough")
_UNITS_PER_MIB = {"KiB": 1024, "MiB": 1}


def build_domain(spec: DomainSpec) -> str:
    """The XML of a domain; BadSpec for values that XML cannot carry."""
    return to_text(
        element(
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
            element("devices", {}, *_devices(spec)),
            _capabilities(),
        )
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
    disks = [disk for disk in devices.findall("disk") if attribute(disk, "target", "dev") != SEED_TARGET]
    return DomainSpec(
        uuid=UUID(text_of(root, "uuid")),
        name=text_of(root, "name"),
        owner=owner,
        vcpus=int(text_of(root, "vcpu")),
        memory_mib=_memory_mib(root),
        disks=tuple(_parse_disk(disk) for disk in disks),
        nics=tuple(_parse_nic(nic) for nic in devices.findall("interface")),
        serial_socket=PurePosixPath(attribute(devices, "serial/source", "path")),
        seed_path=_parse_seed(devices),
        virt_type=root.get("type", ""),
        cpu=_parse_cpu(root),
        arch=attribute(root, "os/type", "arch"),
        machine=machine_family(attribute(root, "os/type", "machine")),
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
    return sorted(word for word in words if word.split(":")[0] not in {"controller", "emulator", "input", "audio"})


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


def _devices(spec: DomainSpec) -> list[Element]:
    seed = [] if spec.seed_path is None else [_seed(spec.seed_path)]
    return [
        *(_disk(disk) for disk in spec.disks),
        *seed,
        *(_nic(nic) for nic in spec.nics),
        element("controller", {"type": "usb", "model": "none"}),
        *_serial(spec.serial_socket),
        element("channel", {"type": "unix"}, element("target", {"type": "virtio", "name": AGENT_CHANNEL})),
        # No listener of any kind: the display is reached through libvirt, as a connected descriptor.
        element("graphics", {"type": "vnc", "sharePolicy": "force-shared"}, element("listen", {"type": "none"})),
        element("video", {}, element("model", {"type": "vga", "vram": 16384, "heads": 1, "primary": "yes"})),
        element("memballoon", {"model": "virtio"}, element("stats", {"period": BALLOON_PERIOD_SECONDS})),
        element("rng", {"model": "virtio"}, element("backend", {"model": "random"}, "/dev/urandom")),
        element("panic", {"model": "isa"}),
    ]


def _disk(disk: DiskSpec) -> Element:
    """The host's page cache is used: overlays share the pages of their base image."""
    driver = element(
        "driver",
        {"name": "qemu", "type": "qcow2", "cache": "writeback", "error_policy": "enospace", "discard": "unmap"},
    )
    parts = [driver, element("source", {"file": disk.path}), _backing(disk)]
    target = element("target", {"dev": f"vd{chr(ord('a') + disk.index)}", "bus": "virtio"})
    order = [element("boot", {"order": 1})] if disk.index == 0 else []
    return element("disk", {"type": "file", "device": "disk"}, *parts, target, *order)


def _backing(disk: DiskSpec) -> Element:
    """The chain below a disk, said in full: libvirt opens no file to find out what else it should open.

    `relabel='no'` keeps the base image root's: otherwise the DAC driver gives it to QEMU's user, who could write to it.
    """
    if disk.base_path is None:
        return element("backingStore")
    keep = element("seclabel", {"model": "dac", "relabel": "no"})
    return element(
        "backingStore",
        {"type": "file"},
        element("format", {"type": disk.base_format}),
        element("source", {"file": disk.base_path}, keep),
        element("backingStore"),
    )


def _parse_disk(disk: Element) -> DiskSpec:
    driver = attribute(disk, "driver", "type")
    if disk.get("type") != "file" or disk.get("device") != "disk" or driver != "qcow2":
        raise BadSpec(f"a disk of another kind: {disk.get('type')} {disk.get('device')} {driver}")
    base = disk.find("backingStore/source")
    return DiskSpec(
        path=PurePosixPath(attribute(disk, "source", "file")),
        index=ord(attribute(disk, "target", "dev")[2:]) - ord("a"),
        base_path=None if base is None else PurePosixPath(base.get("file", "")),
        base_format="qcow2" if base is None else attribute(disk, "backingStore/format", "type"),
    )


def _seed(path: PurePosixPath) -> Element:
    """A read-only virtio disk, not a CD-ROM: Debian's cloud kernel has no AHCI driver."""
    return element(
        "disk",
        {"type": "file", "device": "disk"},
        element("driver", {"name": "qemu", "type": "raw"}),
        element("source", {"file": path}),
        element("backingStore"),
        element("target", {"dev": SEED_TARGET, "bus": "virtio"}),
        element("readonly"),
        element("serial", {}, "cidata"),
    )


def _parse_seed(devices: Element) -> PurePosixPath | None:
    for disk in devices.findall("disk"):
        if attribute(disk, "target", "dev") == SEED_TARGET:
            if disk.find("readonly") is None:
                raise BadSpec("the seed is writable")
            return PurePosixPath(attribute(disk, "source", "file"))
    return None


def _nic(nic: NicSpec) -> Element:
    """No option ROM: nobody boots from the network, and loading it takes the firmware time."""
    return element(
        "interface",
        {"type": "network"},
        element("mac", {"address": nic.mac}),
        element("source", {"network": nic.network}),
        element("model", {"type": "virtio"}),
        element("port", {"isolated": "yes"}),
        element("filterref", {"filter": nic.filter_name}, element("parameter", {"name": "IP", "value": nic.address})),
        element("rom", {"enabled": "no"}),
    )


def _parse_nic(nic: Element) -> NicSpec:
    if nic.get("type") != "network" or attribute(nic, "port", "isolated") != "yes":
        raise BadSpec("a card of another kind, or not isolated")
    return NicSpec(
        network=attribute(nic, "source", "network"),
        mac=attribute(nic, "mac", "address"),
        address=attribute(nic, "filterref/parameter[@name='IP']", "value"),
        filter_name=attribute(nic, "filterref", "filter"),
    )


def _serial(socket: PurePosixPath) -> list[Element]:
    source = {"mode": "bind", "path": socket}
    port = element("target", {"type": "isa-serial", "port": 0}, element("model", {"name": "isa-serial"}))
    console = element("target", {"type": "serial", "port": 0})
    return [
        element("serial", {"type": "unix"}, element("source", source), port),
        element("console", {"type": "unix"}, element("source", source), console),
    ]


def _memory_mib(root: Element) -> int:
    unit = attribute(root, "memory", "unit")
    if unit not in _UNITS_PER_MIB:
        raise BadSpec(f"memory in {unit}")
    return int(text_of(root, "memory")) // _UNITS_PER_MIB[unit]


def disk_files(text: str) -> list[PurePosixPath]:
    """The files of a domain's disks, in the XML's order."""
    sources = from_text(text).iterfind("devices/disk/source")
    return [PurePosixPath(source.get("file", "")) for source in sources if source.get("file")]
