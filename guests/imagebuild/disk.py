"""From a folder to a bootable qcow2 file: one partition, ext4, the boot loader inside.

No partition node is needed (containers show none): the file system is written at an offset into the file, and only
the boot loader, which asks the kernel where its own blocks lie, needs it mounted through a loop device.
"""

import contextlib
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .steps import BuildError, run

SECTOR_BYTES = 512
PARTITION_START_SECTORS = 2048
MIB = 1024 * 1024
MBR = Path("/usr/lib/EXTLINUX/mbr.bin")
# The first 440 bytes of a disk are boot code; the partition table lies behind them.
MBR_CODE_BYTES = 440
# extlinux 6 reads neither 64-bit block numbers nor checksummed metadata.
FEATURES = "^64bit,^metadata_csum,uninit_bg"


def write_disk(tree: Path, raw: Path, *, size_mib: int, label: str, uuid: str) -> None:
    """Writes the tree as a bootable raw disk; empties its /boot, where the boot loader's settings must stand.

    mke2fs leaves holes for blocks of zeros, which extlinux cannot read, so what it loads is copied by the kernel.
    """
    boot = raw.with_name(raw.name + ".boot")
    (tree / "boot").rename(boot)
    with raw.open("wb") as file:
        file.truncate(size_mib * MIB)
    offset = PARTITION_START_SECTORS * SECTOR_BYTES
    kib = size_mib * 1024 - offset // 1024
    options = f"offset={offset},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    words = f"mke2fs -q -F -t ext4 -b 4096 -m 1 -O {FEATURES} -L {label} -U {uuid} -E {options}".split()
    run([*words, "-d", tree, raw, f"{kib}k"])
    with _mounted(raw, offset) as mount:
        run(["cp", "--archive", "--sparse=never", boot, mount / "boot"])
        run(["extlinux", "--install", mount / "boot"])
    _write_first_sector(raw, size_mib)


def convert(raw: Path, out: Path, *, compress: bool) -> None:
    """Makes a qcow2 file of a raw one, its holes left out; replaces `out` in one step."""
    part = out.with_name(out.name + ".part")
    options = ["-c", "-o", "compression_type=zstd"] if compress else []
    try:
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, part])
        part.chmod(0o644)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _write_first_sector(raw: Path, size_mib: int) -> None:
    """Boot code and a table of one active Linux partition that reaches to the end of the disk."""
    if not MBR.exists():
        raise BuildError(f"{MBR} is missing: install the package extlinux and try again.")
    sectors = size_mib * MIB // SECTOR_BYTES - PARTITION_START_SECTORS
    # the cylinder fields say "see the block numbers", as every partitioning tool does on large disks
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", PARTITION_START_SECTORS, sectors)
    code = MBR.read_bytes()[:MBR_CODE_BYTES].ljust(MBR_CODE_BYTES, b"\0")
    disk_id = os.urandom(4) + b"\0\0"
    with raw.open("r+b") as file:
        file.write(code + disk_id + entry.ljust(64, b"\0") + b"\x55\xaa")


@contextlib.contextmanager
def _mounted(raw: Path, offset: int) -> Iterator[Path]:
    device = run(["losetup", "--find", "--show", "--offset", str(offset), raw]).strip()
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(["mount", "-t", "ext4", device, folder])
            try:
                yield Path(folder)
            finally:
                run(["umount", folder])
    finally:
        run(["losetup", "--detach", device])
