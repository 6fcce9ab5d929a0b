"""What the kernel says of the process behind a domain. Source of the file's fields: proc(5), smaps_rollup."""

from pathlib import Path

RUN = Path("/run/libvirt/qemu")


def own_memory_bytes(name: str, run: Path = RUN, proc: Path = Path("/proc")) -> int | None:
    """Memory of a domain's QEMU that no other process has: what it wrote itself, pages of a shared file left out.

    None where there is no such process, or it may not be looked at.
    """
    try:
        pid = int((run / f"{name}.pid").read_text())
        lines = (proc / str(pid) / "smaps_rollup").read_text().splitlines()
    except (OSError, ValueError):
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:")), None)
