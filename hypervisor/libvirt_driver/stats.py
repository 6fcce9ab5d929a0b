"""libvirt's bulk statistics as facts. Source of the keys: virConnectGetAllDomainStats in libvirt's reference."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from hypervisor.specs import DomainFacts

from .translate import domain_state

Stats = Mapping[str, Any]


def facts_from_stats(name: str, uuid: UUID, stats: Stats, *, saved: bool) -> DomainFacts:
    """The facts in one domain's statistics. What the domain's state or driver does not tell is None, or 0."""
    state, reason = domain_state(stats.get("state.state", 0), stats.get("state.reason", 0), saved=saved)
    return DomainFacts(
        uuid=uuid,
        name=name,
        state=state,
        reason=reason,
        vcpus=stats.get("vcpu.current", 0),
        memory_mib=stats.get("balloon.maximum", 0) // 1024,
        cpu_time_ns=stats.get("cpu.time"),
        memory_used_mib=_memory_used_mib(stats),
        disk_read_bytes=_sum(stats, "block", "rd.bytes"),
        disk_written_bytes=_sum(stats, "block", "wr.bytes"),
        net_received_bytes=_sum(stats, "net", "rx.bytes"),
        net_sent_bytes=_sum(stats, "net", "tx.bytes"),
    )


def _memory_used_mib(stats: Stats) -> int | None:
    """What the guest itself says it uses, in pages that it could not give back; None before its balloon reports."""
    total = stats.get("balloon.available")
    left = stats.get("balloon.usable", stats.get("balloon.unused"))
    if total is None or left is None:
        return None
    return max(0, int(total) - int(left)) // 1024


def _sum(stats: Stats, group: str, counter: str) -> int | None:
    """A counter over all devices of a group."""
    keys = [f"{group}.{index}.{counter}" for index in range(stats.get(f"{group}.count", 0))]
    values = [int(stats[key]) for key in keys if key in stats]
    return sum(values) if values else None
