"""Pool and volume specs <-> libvirt's storage XML. Source: https://libvirt.org/formatstorage.html."""

from pathlib import PurePosixPath

from .errors import BadSpec
from .specs import PoolSpec, VolumeSpec
from .xml_text import Element, attribute, element, from_text, text_of, to_text

# QEMU's user may pass through the folder to a file that it was given, but cannot list it.
_POOL_PERMISSIONS = {"mode": "0711", "owner": "0", "group": "0"}
# libvirt hands a file to QEMU's user when a domain starts and takes it back after.
_VOLUME_PERMISSIONS = {"mode": "0600", "owner": "0", "group": "0"}


def build_pool(spec: PoolSpec) -> str:
    """The XML of a pool of type dir."""
    target = element("target", {}, element("path", {}, str(spec.path)), _permissions(_POOL_PERMISSIONS))
    return to_text(element("pool", {"type": "dir"}, element("name", {}, spec.name), target))


def parse_pool(text: str) -> PoolSpec:
    """The spec that a pool's XML stands for; BadSpec when it is of another type."""
    root = from_text(text)
    if root.get("type") != "dir":
        raise BadSpec(f"a pool of type {root.get('type')}")
    return PoolSpec(name=text_of(root, "name"), path=PurePosixPath(text_of(root, "target/path")))


def build_volume(spec: VolumeSpec) -> str:
    """The XML of a qcow2 volume, with its base image where it has one."""
    backing = []
    if spec.base_path is not None:
        form = element("format", {"type": spec.base_format})
        backing.append(element("backingStore", {}, element("path", {}, str(spec.base_path)), form))
    # libvirt's default is QEMU 0.10's qcow2, in which a guest cannot discard what lies in the base image.
    compat = element("compat", {}, "1.1")
    target = element("target", {}, element("format", {"type": "qcow2"}), _permissions(_VOLUME_PERMISSIONS), compat)
    return to_text(
        element(
            "volume",
            {"type": "file"},
            element("name", {}, check_name(spec.name)),
            element("capacity", {"unit": "bytes"}, str(spec.size_bytes)),
            element("allocation", {"unit": "bytes"}, "0"),
            target,
            *backing,
        )
    )


def parse_volume(text: str, pool: str) -> VolumeSpec:
    """The spec that the pool's record of a qcow2 volume stands for; BadSpec when the record says another format.

    After a restart of libvirtd the record comes from the file's own header. Use it to see whether a volume of ours is
    what was asked for; what QEMU opens is always said by the domain's XML.
    """
    root = from_text(text)
    if attribute(root, "target/format", "type") != "qcow2":
        raise BadSpec(f"a volume of format {attribute(root, 'target/format', 'type')}")
    base = root.find("backingStore/path")
    has_base = base is not None and bool(base.text)
    return VolumeSpec(
        pool=pool,
        name=text_of(root, "name"),
        size_bytes=_bytes(root, "capacity"),
        base_path=PurePosixPath(text_of(root, "backingStore/path")) if has_base else None,
        base_format=attribute(root, "backingStore/format", "type") if has_base else "qcow2",
    )


def check_name(name: str) -> str:
    """The name again; BadSpec unless it is a plain file name (CVE-2015-5313)."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise BadSpec(f"not a volume name: {name!r}")
    return name


def _permissions(values: dict[str, str]) -> Element:
    return element("permissions", {}, *(element(name, {}, value) for name, value in values.items()))


def _bytes(root: Element, path: str) -> int:
    if attribute(root, path, "unit") != "bytes":
        raise BadSpec(f"{path} is not in bytes")
    return int(text_of(root, path))
