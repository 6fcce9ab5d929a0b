"""What the contract's tests run on: the fake, libvirt's mock driver in this process and in libvirtd, and QEMU.

`GAPS` is the one table of what a rig cannot do. A test says `with rig.can("verb"):` around the verb; where the table
has the verb the test then demands NotSupported, so that a gap that closes is noticed.
"""

import contextlib
import itertools
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from uuid import UUID, uuid4

import pytest

from hypervisor.api import Hypervisor
from hypervisor.errors import HypervisorError, NotSupported
from hypervisor.fake import FakeHypervisor
from hypervisor.libvirt_driver import LibvirtHypervisor
from hypervisor.specs import (
    DiskSpec,
    DomainSpec,
    NetworkSpec,
    NicSpec,
    OwnerTag,
    PoolSpec,
    SeedSpec,
    VolumeSpec,
)

MIB = 2**20
MOCKS = {"mock", "mock-libvirtd"}
GAPS: dict[str, dict[str, str]] = {
    verb: dict.fromkeys(MOCKS, why)
    for verb, why in {
        "replace a network": "it cannot tell whether cards are on it",
        "ensure_seed": "its pools have no folder",
        "grow_volume": "no volume resize",
        "agent": "no guests",
        "open_graphics": "no display",
    }.items()
}
URIS = {"mock": "test:///default", "mock-libvirtd": "test+unix:///default", "qemu": "qemu:///system"}

# A boot sector that says "Hello" on VGA and the first serial port, and halts.
HELLO = bytes.fromhex(
    "fa31c08ed88ed0bc007cbe247cac84c0740f50b40ebb0700cd1058baf803eeebec f4ebfd 48656c6c6f0d0a00".replace(" ", "")
)
# The same, after which it tells the panic device that it panicked: outb(1, 0x505).
PANIC = bytes.fromhex(
    "fa31c08ed88ed0bc007cbe2a7cac84c0740f50b40ebb0700cd1058baf803eeebec ba0505b001ee f4ebfd 48656c6c6f0d0a00".replace(
        " ", ""
    )
)


def own_id() -> str:
    """An installation id. Its first byte is its network's, too, which no rig of a test process beside this one has."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return f"{secrets.choice(range(number, 256, count)):02x}{secrets.token_hex(3)}"


@dataclass
class Rig:
    """A hypervisor with a pool and a network, an installation id of its own, and everything removed at the end."""

    name: str
    hypervisor: Hypervisor
    folder: Path
    installation_id: str = field(default_factory=own_id)
    made: list[UUID] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(2))

    @property
    def is_libvirt(self) -> bool:
        return self.name != "fake"

    @property
    def pool_spec(self) -> PoolSpec:
        return PoolSpec(f"slipway-{self.installation_id}", PurePosixPath(self.folder / "pool"))

    @property
    def pool(self) -> str:
        return self.pool_spec.name

    @property
    def network_spec(self) -> NetworkSpec:
        name = f"slipway-{self.installation_id}"
        third = int(self.installation_id[:2], 16)
        return NetworkSpec(
            name=name, uuid=UUID(int=int(self.installation_id, 16)), bridge=f"sw-{self.installation_id}",
            gateway=f"10.99.{third}.1", prefix_length=24, dhcp_first=f"10.99.{third}.2",
            dhcp_last=f"10.99.{third}.254", filter_name=f"{name}-guest",
            filter_uuid=UUID(int=int(self.installation_id, 16) + 2**64),
            hosts_dir=PurePosixPath(self.folder / "dhcp"),
        )  # fmt: skip

    def base(self, boot_sector: bytes = HELLO) -> PurePosixPath:
        """A base image of 1 MiB that boots this sector; on the rigs without QEMU only its name."""
        path = self.folder / f"{len(boot_sector)}.qcow2"
        if self.name == "qemu" and not path.exists():
            raw = path.with_suffix(".raw")
            raw.write_bytes(boot_sector.ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
            convert = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)]
            subprocess.run(convert, check=True, capture_output=True)
        return PurePosixPath(path)

    def volume_spec(self, uuid: UUID, size_bytes: int = 4 * MIB, boot_sector: bytes = HELLO) -> VolumeSpec:
        return VolumeSpec(self.pool, f"{uuid}.qcow2", size_bytes, self.base(boot_sector))

    def domain_spec(self, uuid: UUID | None = None, *, card: bool = False, boot_sector: bytes = HELLO) -> DomainSpec:
        """A small domain that boots the sector; `card` gives it a network card, which takes libvirt a second."""
        uuid = uuid or uuid4()
        self.made.append(uuid)
        network, number = self.network_spec, next(self.numbers)
        address = network.gateway.rsplit(".", 1)[0] + f".{number}"
        nic = NicSpec(network.name, f"52:54:00:99:00:{number:02x}", address, network.filter_name)
        pool = self.pool_spec.path
        return DomainSpec(
            uuid=uuid, name=f"sw-{self.installation_id}-{uuid}", owner=OwnerTag(self.installation_id, uuid4()),
            vcpus=1, memory_mib=64,
            disks=(DiskSpec(pool / f"{uuid}.qcow2", 0, self.base(boot_sector)),), nics=(nic,) if card else (),
            serial_socket=PurePosixPath(self.folder / f"{str(uuid)[:8]}.serial"), seed_path=None,
            virt_type="test" if self.name in MOCKS else "qemu", arch="i686" if self.name in MOCKS else "x86_64",
        )  # fmt: skip

    def make(self, *, card: bool = False, boot_sector: bytes = HELLO) -> DomainSpec:
        """A domain with its disk, defined and off."""
        spec = self.domain_spec(card=card, boot_sector=boot_sector)
        self.hypervisor.ensure_volume(self.volume_spec(spec.uuid, boot_sector=boot_sector))
        self.hypervisor.define(spec)
        return spec

    def seed_spec(self, hostname: str = "guest") -> SeedSpec:
        return SeedSpec(UUID(int=1), hostname, ("ssh-ed25519 AAAA x",), "$2b$12$hash", b"#!/bin/sh\ntrue\n")

    @contextlib.contextmanager
    def can(self, verb: str) -> Iterator[None]:
        """Runs the block; on a rig with a gap for the verb the block must end with NotSupported."""
        if self.name in GAPS.get(verb, {}):
            with pytest.raises(NotSupported):
                yield
        else:
            yield

    def build(self) -> None:
        self.hypervisor.ensure_pool(self.pool_spec)
        self.hypervisor.ensure_network(self.network_spec)

    def clear(self) -> None:
        """Removes what the tests made, and the pool and the network."""
        for uuid in self.made:
            with contextlib.suppress(HypervisorError):
                self.hypervisor.force_off(uuid)
            self.hypervisor.undefine(uuid)
        with contextlib.suppress(HypervisorError):
            for volume in self.hypervisor.volumes(self.pool):
                self.hypervisor.remove_volume(self.pool, volume.name)
        self.hypervisor.remove_network(self.network_spec.name, self.network_spec.filter_name)
        self.hypervisor.remove_pool(self.pool)
        self.hypervisor.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def make_rig(name: str, tmp_path: Path) -> Rig:
    """A rig that is ready. QEMU's user must be able to reach the folder, so that one lies below /var/lib."""
    if name == "fake":
        rig = Rig(name, FakeHypervisor(), tmp_path)
    else:
        rig = Rig(name, LibvirtHypervisor(URIS[name]), tmp_path)
    if name == "qemu":
        rig.folder = Path("/var/lib/slipway") / rig.installation_id
        rig.folder.mkdir(mode=0o711, parents=True)
        rig.folder.parent.chmod(0o711)
    rig.build()
    return rig
