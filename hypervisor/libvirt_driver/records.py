"""What libvirtd knows of all domains: with QEMU's counters, or of itself, which no QEMU can hold up."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import libvirt

_SAMPLED = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)

Record = tuple[UUID, str, dict[str, Any]]  # name and statistics, by the keys of virConnectGetAllDomainStats


def sampled(connection: Any) -> list[Record]:
    """All domains with their counters; waits for a QEMU that hangs."""
    found = connection.getAllDomainStats(_SAMPLED, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    return [_record(domain, stats) for domain, stats in found]


def plain(connection: Any) -> list[Record]:
    """All domains without their counters; asks no QEMU."""
    return list(_plain(connection))


def _plain(connection: Any) -> Iterator[Record]:
    for domain in connection.listAllDomains(0):
        try:
            yield _record(domain, plain_stats(domain))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # it went since it was listed
                raise


def plain_stats(domain: Any) -> dict[str, Any]:
    """What libvirtd knows of a domain by itself, under the keys of the bulk statistics."""
    state, reason = domain.state(0)
    _, memory_kib, _, vcpus, _ = domain.info()
    return {"state.state": state, "state.reason": reason, "vcpu.current": vcpus, "balloon.maximum": memory_kib}


def uuids(connection: Any, flags: int) -> set[UUID]:
    """The domains that `listAllDomains` names with these flags."""
    return {UUID(bytes=domain.UUID()) for domain in connection.listAllDomains(flags)}


def _record(domain: Any, stats: dict[str, Any]) -> Record:
    return UUID(bytes=domain.UUID()), domain.name(), stats
