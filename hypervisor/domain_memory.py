"""A domain's RAM as a file: arguments that libvirt passes on to QEMU as they are.

libvirt would choose the file itself (`memoryBacking`), so the file is given beside it: an object of ours, and the
machine told to take that one. Its id names the RAM in every migration stream, so it is the same for a template, its
clones, and a clone that was saved to disk.
"""

import json
from dataclasses import dataclass
from pathlib import PurePosixPath

from .specs import MemorySpec
from .xml_text import Element, element

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
RAM_ID = "slipway-ram"
_ARGUMENT = f"{{{QEMU_NAMESPACE}}}arg"


@dataclass(frozen=True, slots=True)
class Ram:
    """A file to be RAM. `shared`: what the guest writes goes to the file, else to pages of its own.

    Without a path it is plain memory under the same id, for a saved clone that comes back.
    """

    path: PurePosixPath | None
    shared: bool = False


def build_arguments(memory_mib: int, ram: Ram | None, *more: str) -> list[Element]:
    """The element with QEMU's arguments, or none."""
    if ram is None:
        return []
    backend: dict[str, object] = {"qom-type": "memory-backend-ram", "id": RAM_ID, "size": memory_mib * 2**20}
    if ram.path is not None:
        backend |= {"qom-type": "memory-backend-file", "mem-path": str(ram.path), "share": ram.shared}
    words = ["-object", json.dumps(backend), "-machine", f"memory-backend={RAM_ID}", *more]
    return [_qemu("commandline", {}, *(_qemu("arg", {"value": word}) for word in words))]


def parse_memory(root: Element) -> MemorySpec | None:
    """The RAM file among QEMU's arguments, if there is one."""
    path = _backend(root).get("mem-path")
    return None if path is None else MemorySpec(PurePosixPath(path))


def forget_file(root: Element) -> bool:
    """Turns a clone's arguments into those of a machine with memory of its own; False when that was so already.

    For the XML in a saved clone's image, which libvirt starts it from: the file may be gone by then.
    """
    arguments = root.find(f"{{{QEMU_NAMESPACE}}}commandline")
    backend = _backend(root)
    if arguments is None or "mem-path" not in backend:
        return False
    size_mib = int(backend["size"]) // 2**20
    root.replace(arguments, *build_arguments(size_mib, Ram(None)))
    return True


def _backend(root: Element) -> dict[str, str]:
    for argument in root.iterfind(f"{{{QEMU_NAMESPACE}}}commandline/{_ARGUMENT}"):
        value = argument.get("value", "")
        if value.startswith("{") and RAM_ID in value:
            return dict(json.loads(value))
    return {}


def _qemu(tag: str, attributes: dict[str, object], *children: Element) -> Element:
    return element(tag, attributes, *children, namespace=QEMU_NAMESPACE, prefix="qemu")
