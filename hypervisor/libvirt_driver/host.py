"""Facts about the host, from libvirt's capabilities and /proc/cpuinfo."""

from functools import cache
from pathlib import Path
from typing import Any

import libvirt

from hypervisor.specs import HostFacts
from hypervisor.xml_text import from_text

_VIRTUALISATION_FLAGS = {"vmx", "svm"}


def host_facts(conn: Any, capabilities: str) -> HostFacts:
    """The facts. KVM counts as offered only where the CPU flags are there too: elsewhere guests hang under it."""
    root = from_text(capabilities)
    flags = cpu_flags()
    offered = {domain.get("type", "") for domain in root.iterfind("guest/arch/domain")}
    if not flags & _VIRTUALISATION_FLAGS:
        offered.discard("kvm")
    memory = conn.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    available_kib = sum(memory.get(key, 0) for key in ("free", "buffers", "cached"))
    return HostFacts(
        hostname=conn.getHostname(),
        vcpus=conn.getInfo()[2],
        memory_mib=memory.get("total", conn.getInfo()[1] * 1024) // 1024,  # getInfo misses hot-plugged memory
        memory_free_mib=available_kib // 1024,
        arch=root.findtext("host/cpu/arch", ""),
        cpu_model=root.findtext("host/cpu/model", ""),
        cpu_flags=flags,
        virt_types=frozenset(offered),
        hypervisor_version=f"{conn.getType()} {_version(conn.getVersion())}",
        library_version=f"libvirt {_version(conn.getLibVersion())}",
    )


@cache
def cpu_flags() -> frozenset[str]:
    """The flags of the first CPU in /proc/cpuinfo; empty where there is no such line."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
