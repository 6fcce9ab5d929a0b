"""The yardstick of bench/create.py: the same machine made by a plain libvirt-python script, without any portal."""

import os
import time
import uuid
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import libvirt
import libvirt_qemu
from lxml import etree

from hypervisor.seed import build_seed
from hypervisor.specs import SeedSpec
from hypervisor.subnets import free_subnet

MAC = "52:54:00:be:0c:01"
PING = '{"execute": "guest-ping"}'
DISK_GIB = 2  # as the flavor nano has
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 300


class Bare:
    """Its pool and network are made once; `create()` makes a machine, `remove()` takes it away again.

    `model` is a machine that Slipway made: its definition is taken over, with other names, addresses and files.
    """

    def __init__(self, connection: libvirt.virConnect, model: str) -> None:
        self.connection = connection
        self.name = f"slipway-bench-{os.getpid()}"
        self.folder = Path("/var/lib/slipway") / f"bench-{os.getpid()}"
        self.model = etree.fromstring(model.encode())
        (self.base,) = (source.get("file") for source in self.model.findall("devices/disk/backingStore/source"))
        self.subnet = free_subnet(24, self.name)

    def __enter__(self) -> Self:
        self.folder.mkdir(mode=0o755)
        pool = f"<pool type='dir'><name>{self.name}</name><target><path>{self.folder}</path></target></pool>"
        self.pool = self.connection.storagePoolCreateXML(pool)
        gateway, guest = self.subnet[1], self.subnet[2]
        self.network = self.connection.networkCreateXML(
            f"<network><name>{self.name}</name><forward mode='nat'/>"
            f"<bridge name='sw-b{os.getpid()}' stp='off' delay='0'/>"
            f"<ip address='{gateway}' prefix='24'><dhcp><range start='{guest}' end='{self.subnet[-2]}'/>"
            f"<host mac='{MAC}' ip='{guest}'/></dhcp></ip></network>"
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.network.destroy()
        self.pool.destroy()
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()

    def create(self) -> tuple[libvirt.virDomain, dict[str, float]]:
        """Disk, seed, define, start, wait for the agent; return the domain and the seconds that each took."""
        times = {"began": time.monotonic()}
        domain_uuid = uuid.uuid4()
        disk, seed = self.folder / f"{domain_uuid}.qcow2", self.folder / f"{domain_uuid}.iso"
        self.pool.createXML(self._volume(disk.name))
        times["disk"] = time.monotonic()
        seed.write_bytes(build_seed(SeedSpec(instance_id=domain_uuid, hostname="bench")))
        seed.chmod(0o644)
        times["seed"] = time.monotonic()
        domain = self.connection.defineXML(self._definition(domain_uuid, disk, seed))
        times["domain"] = time.monotonic()
        domain.create()
        times["running"] = time.monotonic()
        await_agent(lambda: domain)
        times["agent"] = time.monotonic()
        return domain, {step: times[step] - times[before] for before, step in pairwise(times)}

    def remove(self, domain: libvirt.virDomain) -> None:
        """Force it off, forget it, delete its files."""
        domain.destroy()
        domain.undefine()
        for file in self.folder.glob(f"{domain.UUIDString()}*"):
            file.unlink()

    def _volume(self, name: str) -> str:
        return (
            f"<volume><name>{name}</name><capacity unit='GiB'>{DISK_GIB}</capacity>"
            "<target><format type='qcow2'/></target>"
            f"<backingStore><path>{self.base}</path><format type='qcow2'/></backingStore></volume>"
        )

    def _definition(self, domain_uuid: uuid.UUID, disk: Path, seed: Path) -> str:
        root = etree.fromstring(etree.tostring(self.model))
        _only(root, "name").text = f"{self.name}-{domain_uuid}"
        _only(root, "uuid").text = str(domain_uuid)
        root.remove(_only(root, "metadata"))
        for device in root.findall("devices/disk"):
            file = disk if device.find("readonly") is None else seed
            _only(device, "source").set("file", str(file))
        card = _only(root, "devices/interface")
        _only(card, "mac").set("address", MAC)
        _only(card, "source").set("network", self.name)
        _only(card, "filterref/parameter[@name='IP']").set("value", str(self.subnet[2]))
        for line in [*root.findall("devices/serial"), *root.findall("devices/console")]:
            _only(line, "source").set("path", str(self.folder / f"{domain_uuid}.serial"))
        return str(etree.tostring(root, encoding="unicode"))


def _only(parent: etree._Element, path: str) -> etree._Element:
    (found,) = parent.findall(path)
    return found


def await_agent(find: Callable[[], libvirt.virDomain | None]) -> None:
    """Ask every 50 ms until the guest agent of the domain that `find` returns has answered."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            domain = find()
            if domain is not None:
                libvirt_qemu.qemuAgentCommand(domain, PING, 2, 0)
                return
        except libvirt.libvirtError:
            pass  # not there yet, not running yet, not answering yet
        if time.monotonic() > until:
            raise TimeoutError("the guest agent does not answer")
        time.sleep(POLL_SECONDS)
