"""What running machines use: taken from the bulk reading that the comparison makes anyway, one upsert for all."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from hypervisor.specs import DomainFacts, DomainState

from .models import Node, Sample, VirtualMachine

_COLUMNS = [
    "at",
    "cpu_time_ns",
    "disk_bytes",
    "net_bytes",
    "cpu_percent",
    "memory_used_mib",
    "disk_bytes_per_second",
    "net_bytes_per_second",
]
SHORTEST_SECONDS = 1.0  # a shorter time between two samples says nothing about a rate


def store(node: Node, found: Iterable[DomainFacts], now: datetime | None = None) -> None:
    """Store a sample of each running domain of a node, and forget those of machines that run no more.

    Four statements, whatever the number of machines (one more for every 500).
    """
    now = now or timezone.now()
    running = {
        facts.uuid: facts for facts in found if facts.state is DomainState.RUNNING and facts.cpu_time_ns is not None
    }
    ours = VirtualMachine.objects.filter(node=node, domain_uuid__in=list(running)).values_list("pk", "domain_uuid")
    ids: dict[UUID, UUID] = dict(ours) if running else {}
    before = {sample.vm_id: sample for sample in Sample.objects.filter(vm__node=node)}
    samples = [make(pk, running[uuid], before.get(pk), now) for pk, uuid in ids.items()]
    stale = [pk for pk in before if pk not in ids]
    if stale:
        Sample.objects.filter(pk__in=stale).delete()
    if samples:
        Sample.objects.bulk_create(
            samples, batch_size=500, update_conflicts=True, unique_fields=["vm"], update_fields=_COLUMNS
        )


def make(vm_id: UUID, facts: DomainFacts, before: Sample | None, now: datetime) -> Sample:
    """Return the sample of one domain; rates are None at first, and after its counters began again."""
    sample = Sample(
        vm_id=vm_id,
        at=now,
        cpu_time_ns=facts.cpu_time_ns or 0,
        disk_bytes=(facts.disk_read_bytes or 0) + (facts.disk_written_bytes or 0),
        net_bytes=(facts.net_received_bytes or 0) + (facts.net_sent_bytes or 0),
        memory_used_mib=facts.memory_used_mib,
    )
    seconds = (now - before.at).total_seconds() if before else 0.0
    if before is None or seconds < SHORTEST_SECONDS or sample.cpu_time_ns < before.cpu_time_ns:
        return sample
    busy = (sample.cpu_time_ns - before.cpu_time_ns) / 1e9 / seconds / max(facts.vcpus, 1)
    sample.cpu_percent = round(min(100 * busy, 100.0), 1)
    sample.disk_bytes_per_second = round(max(sample.disk_bytes - before.disk_bytes, 0) / seconds)
    sample.net_bytes_per_second = round(max(sample.net_bytes - before.net_bytes, 0) / seconds)
    return sample
