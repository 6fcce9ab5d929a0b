"""The devices of a domain <-> their XML; see `domain_xml`."""

from pathlib import PurePosixPath

from .errors import BadSpec
from .nft_guard import tap_name
from .specs import DiskSpec, DomainSpec, NicSpec
from .xml_text import Element, attribute, element

AGENT_CHANNEL = "org.qemu.guest_agent.0"
IDENTITY_CHANNEL = "org.slipway.identity.0"
RUN_CHANNEL = "org.slipway.run.0"
SEED_TARGET = "vdz"
BALLOON_PERIOD_SECONDS = 10
# Number 0 is not for channels. With QEMU's own 32 a machine has 64 queues for them, each with a descriptor that is made
# when it resumes: its table of 64 is then too small, and to grow it waits 10 to 18 ms for the kernel (RCU).
SERIAL_PORTS = 4


def build_devices(spec: DomainSpec) -> list[Element]:
    seed = [] if spec.seed_path is None else [_seed(spec.seed_path)]
    return [
        *(_disk(disk) for disk in spec.disks),
        *seed,
        *(_nic(nic) for nic in spec.nics),
        element("controller", {"type": "usb", "model": "none"}),
        element("controller", {"type": "virtio-serial", "ports": SERIAL_PORTS}),
        *_serial(spec.serial_socket),
        *_channels(spec),
        # No listener of any kind: the display is reached through libvirt, as a connected descriptor.
        element("graphics", {"type": "vnc", "sharePolicy": "force-shared"}, element("listen", {"type": "none"})),
        element("video", {}, element("model", {"type": "vga", "vram": 16384, "heads": 1, "primary": "yes"})),
        element("memballoon", {"model": "virtio"}, element("stats", {"period": BALLOON_PERIOD_SECONDS})),
        element("rng", {"model": "virtio"}, element("backend", {"model": "random"}, "/dev/urandom")),
        element("panic", {"model": "isa"}),
    ]


def are_ours(root: Element) -> bool:
    """Are a domain's fixed devices what `build_devices` gives now? One that another version started may have others."""
    found = root.find("devices/controller[@type='virtio-serial']")
    return found is not None and found.get("ports") == str(SERIAL_PORTS)


def _disk(disk: DiskSpec) -> Element:
    """The host's page cache is used: overlays share the pages of their base image."""
    driver = element(
        "driver",
        {"name": "qemu", "type": "qcow2", "cache": "writeback", "error_policy": "enospace", "discard": "unmap"},
    )
    images = [] if disk.base_path is None else [disk.base_path, *disk.below]
    parts = [driver, element("source", {"file": disk.path}), _backing(images, disk.base_format)]
    target = element("target", {"dev": f"vd{chr(ord('a') + disk.index)}", "bus": "virtio"})
    order = [element("boot", {"order": 1})] if disk.index == 0 else []
    return element("disk", {"type": "file", "device": "disk"}, *parts, target, *order)


def _backing(images: list[PurePosixPath], formats: str) -> Element:
    """The chain below a disk, said in full: libvirt opens no file to find out what else it should open.

    `relabel='no'` keeps a base image root's: otherwise the DAC driver gives it to QEMU's user, who could write to it.
    """
    if not images:
        return element("backingStore")
    keep = element("seclabel", {"model": "dac", "relabel": "no"})
    return element(
        "backingStore",
        {"type": "file"},
        element("format", {"type": formats}),
        element("source", {"file": images[0]}, keep),
        _backing(images[1:], "qcow2"),
    )


def parse_disks(devices: Element) -> tuple[DiskSpec, ...]:
    """The disks but for the seed."""
    disks = [disk for disk in devices.findall("disk") if attribute(disk, "target", "dev") != SEED_TARGET]
    return tuple(_parse_disk(disk) for disk in disks)


def _parse_disk(disk: Element) -> DiskSpec:
    driver = attribute(disk, "driver", "type")
    if disk.get("type") != "file" or disk.get("device") != "disk" or driver != "qcow2":
        raise BadSpec(f"a disk of another kind: {disk.get('type')} {disk.get('device')} {driver}")
    images = _parse_backing(disk)
    return DiskSpec(
        path=PurePosixPath(attribute(disk, "source", "file")),
        index=ord(attribute(disk, "target", "dev")[2:]) - ord("a"),
        base_path=images[0] if images else None,
        base_format=attribute(disk, "backingStore/format", "type") if images else "qcow2",
        below=tuple(images[1:]),
    )


def _parse_backing(layer: Element) -> list[PurePosixPath]:
    below = layer.find("backingStore")
    if below is None or below.find("source") is None:
        return []
    return [PurePosixPath(attribute(below, "source", "file")), *_parse_backing(below)]


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


def parse_seed(devices: Element) -> PurePosixPath | None:
    for disk in devices.findall("disk"):
        if attribute(disk, "target", "dev") == SEED_TARGET:
            if disk.find("readonly") is None:
                raise BadSpec("the seed is writable")
            return PurePosixPath(attribute(disk, "source", "file"))
    return None


def _nic(nic: NicSpec) -> Element:
    """No option ROM: nobody boots from the network, and loading it takes the firmware time.

    One that is plugged into nothing is a tap that no bridge has: the guest's driver finds what it would on a bridge.
    """
    common = [element("mac", {"address": nic.mac}), element("model", {"type": "virtio"})]
    no_rom = element("rom", {"enabled": "no"})
    if not nic.linked:
        return element("interface", {"type": "ethernet"}, *common, element("link", {"state": "down"}), no_rom)
    if nic.address and not nic.filter_name:
        raise BadSpec("an address, and no filter that would be given it")
    return element(
        "interface",
        {"type": "network"},
        common[0],
        element("source", {"network": nic.network}),
        common[1],
        element("port", {"isolated": "yes"}),
        _filter(nic) if nic.filter_name else element("target", {"dev": tap_name(nic.network, nic.mac)}),
        no_rom,
    )


def _filter(nic: NicSpec) -> Element:
    return element("filterref", {"filter": nic.filter_name}, element("parameter", {"name": "IP", "value": nic.address}))


def parse_nic(nic: Element) -> NicSpec:
    """The card of an `interface` element; BadSpec when it is none of ours."""
    mac = attribute(nic, "mac", "address")
    if nic.get("type") == "ethernet" and attribute(nic, "link", "state") == "down":
        return NicSpec("", mac, "", "", linked=False)
    if nic.get("type") != "network" or attribute(nic, "port", "isolated") != "yes":
        raise BadSpec("a card of another kind, or not isolated")
    network = attribute(nic, "source", "network")
    if nic.find("filterref") is None:
        if attribute(nic, "target", "dev") != tap_name(network, mac):
            raise BadSpec("a card that no filter knows")
        return NicSpec(network, mac, "", "")
    address = attribute(nic, "filterref/parameter[@name='IP']", "value")
    return NicSpec(network, mac, address, attribute(nic, "filterref", "filter"))


def _channels(spec: DomainSpec) -> list[Element]:
    """The agent's channel has a socket that libvirt names and uses; the others' are ours."""
    named = ((AGENT_CHANNEL, None), (IDENTITY_CHANNEL, spec.identity_socket), (RUN_CHANNEL, spec.run_socket))
    return [
        element(
            "channel",
            {"type": "unix"},
            *([] if socket is None else [element("source", {"mode": "bind", "path": socket})]),
            element("target", {"type": "virtio", "name": name}),
        )
        for name, socket in named
        if socket is not None or name == AGENT_CHANNEL
    ]


def parse_channel(devices: Element, name: str) -> PurePosixPath | None:
    """The host's socket of a channel; None when the domain has no such channel."""
    for channel in devices.findall("channel"):
        if attribute(channel, "target", "name") == name:
            return PurePosixPath(attribute(channel, "source", "path"))
    return None


def _serial(socket: PurePosixPath) -> list[Element]:
    source = {"mode": "bind", "path": socket}
    port = element("target", {"type": "isa-serial", "port": 0}, element("model", {"name": "isa-serial"}))
    console = element("target", {"type": "serial", "port": 0})
    return [
        element("serial", {"type": "unix"}, element("source", source), port),
        element("console", {"type": "unix"}, element("source", source), console),
    ]
