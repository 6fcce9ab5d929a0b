"""Facts about the host, from libvirt's capabilities and /proc/cpuinfo."""

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

import libvirt

from hypervisor.clone_shape import DEVICES
from hypervisor.specs import HostFacts
from hypervisor.subnets import host_addresses
from hypervisor.xml_text import from_text

_VIRTUALISATION_FLAGS = {"vmx", "svm"}


def host_facts(conn: Any, capabilities: str) -> HostFacts:
    """The facts. KVM counts as offered only where the CPU flags are there too: elsewhere guests hang under it."""
    root = from_text(capabilities)
    flags = cpu_flags()
    offered = {domain.get("type", "") for domain in root.iterfind("guest/arch/domain")}
    if not flags & _VIRTUALISATION_FLAGS:
        offered.discard("kvm")
    total_mib, free_mib = _memory_mib(conn)
    return HostFacts(
        hostname=conn.getHostname(),
        vcpus=conn.getInfo()[2],
        memory_mib=total_mib,
        memory_free_mib=free_mib,
        arch=root.findtext("host/cpu/arch", ""),
        cpu_model=root.findtext("host/cpu/model", ""),
        cpu_flags=flags,
        virt_types=frozenset(offered),
        hypervisor_version=f"{conn.getType()} {_version(conn.getVersion())}",
        library_version=f"libvirt {_version(conn.getLibVersion())}",
        addresses=tuple(host_addresses()),
    )


def qemu_user(capabilities: str) -> tuple[int, int]:
    """The user and group that libvirt runs QEMU as; our own where it does not say."""
    for model in from_text(capabilities).iterfind("host/secmodel"):
        label = model.findtext("baselabel", "")
        if model.findtext("model") == "dac" and ":" in label:
            uid, gid = label.split(":")
            return int(uid.lstrip("+")), int(gid.lstrip("+"))
    return os.getuid(), os.getgid()


def fingerprint(conn: Any, capabilities: str) -> str:
    """Words that change with whatever a frozen device state depends on: QEMU, machine, the host's CPU, our devices."""
    root = from_text(capabilities)
    machines = root.iterfind("guest/arch[@name='x86_64']/machine[@canonical]")
    newest = {machine.text: machine.get("canonical", "") for machine in machines}
    cpu = f"{root.findtext('host/cpu/model', '')} {' '.join(sorted(cpu_flags()))}"
    digest = hashlib.sha256(cpu.encode()).hexdigest()[:12]
    return (
        f"{conn.getType()} {_version(conn.getVersion())}, {newest.get('q35', 'q35')}, cpu {digest}, devices {DEVICES}"
    )


@cache
def cpu_flags() -> frozenset[str]:
    """The flags of the first CPU in /proc/cpuinfo; empty where there is no such line."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def _memory_mib(conn: Any) -> tuple[int, int]:
    """How much memory the host has, and how much of it could be given to guests."""
    try:
        memory = conn.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    except libvirt.libvirtError:  # the mock driver; its `getInfo` misses hot-plugged memory on real ones
        return conn.getInfo()[1], conn.getFreeMemory() // 2**20
    return memory["total"] // 1024, sum(memory.get(key, 0) for key in ("free", "buffers", "cached")) // 1024


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
