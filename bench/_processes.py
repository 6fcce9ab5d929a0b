"""What processes cost, as the kernel counts it: those of QEMU, and those that look after them."""

import contextlib
import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def pid_of(domain_uuid: str) -> int:
    """Return the process of the QEMU that runs this domain."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu-system" in words.partition(b"\0")[0] and domain_uuid.encode() in words:
            return int(folder.name)
    raise LookupError(domain_uuid)


def carers(supervisor: int) -> list[int]:
    """Return the processes of the portal, all below its supervisor, and libvirtd's."""
    parents, libvirtd = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            head, _, fields = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        parents[int(folder.name)] = int(fields.split()[1])
        if head.endswith("(libvirtd"):
            libvirtd.append(int(folder.name))
    found = {supervisor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found.union(libvirtd))


def pss_mib(pid: int) -> float:
    """Return its share of memory: pages of its own, and of those that it shares its part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise LookupError(pid)


def cpu_seconds(pid: int) -> float:
    """Return the seconds of processor that it has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_seconds_each(pids: list[int]) -> dict[int, float]:
    """Return that of each that is still there: a supervisor has children that come and go."""
    found = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[pid] = cpu_seconds(pid)
    return found
