"""The only writer of what was observed. A row is written when something changed, and never by guessing."""

from collections.abc import Iterable
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from hypervisor.api import Hypervisor
from hypervisor.specs import DomainFacts, DomainState

from . import broadcast
from .models import Node, Operation, VirtualMachine
from .states import LIVE, ObservedState, attention_rank

_SEEN = {
    DomainState.RUNNING: ObservedState.RUNNING,
    DomainState.STOPPED: ObservedState.STOPPED,
    DomainState.PAUSED: ObservedState.PAUSED,
    DomainState.SUSPENDED: ObservedState.SUSPENDED,
    DomainState.CRASHED: ObservedState.CRASHED,
}


def meaning(facts: DomainFacts | None, was_there: bool, storage_missing: bool = False) -> tuple[str, str]:
    """Return (observed_state, reason) for what libvirt says; None is a domain that does not exist."""
    if facts is None:
        return ObservedState.ABSENT, "domain_missing" if was_there else ""
    reason = facts.reason if facts.reason in ("io_error", "panicked", "crashed") else ""
    return _SEEN[facts.state], "storage_missing" if storage_missing else reason


def observe(vm_id: UUID, facts: DomainFacts | None, storage_missing: bool | None = None) -> bool:
    """Store what was just read about one machine. Returns whether anything changed.

    `storage_missing` None: not looked at, so what is known about the disk stays.
    """
    with transaction.atomic():
        vm = VirtualMachine.objects.select_for_update().select_related("node").filter(pk=vm_id).first()
        if vm is None:
            return False
        missing = vm.observed_reason == "storage_missing" if storage_missing is None else storage_missing
        was_there = vm.observed_at is not None and (
            vm.observed_state != ObservedState.ABSENT or vm.observed_reason == "domain_missing"
        )
        state, reason = meaning(facts, was_there, missing)
        if (vm.observed_state, vm.observed_reason) == (state, reason):
            return False
        if state == ObservedState.RUNNING and vm.observed_state != ObservedState.RUNNING:
            vm.started_at = timezone.now()
        elif state not in (ObservedState.RUNNING, ObservedState.PAUSED):
            vm.started_at = None
        vm.observed_state, vm.observed_reason = state, reason
        VirtualMachine.objects.filter(pk=vm.pk).update(
            observed_state=state, observed_reason=reason, observed_at=Now(), started_at=vm.started_at
        )
        rank(vm)
        broadcast.vm_changed(vm)
        return True


def rank(vm: VirtualMachine) -> None:
    """Store the attention rank that follows from the row; the caller is in a transaction."""
    live = Operation.objects.filter(vm=vm, status__in=LIVE).values_list("kind", flat=True).first() or ""
    value = attention_rank(vm.facts(live), timezone.now(), settings.NODE_AWAY_AFTER)
    if value != vm.attention_rank:
        vm.attention_rank = value
        VirtualMachine.objects.filter(pk=vm.pk).update(attention_rank=value)


def sync(node: Node, hypervisor: Hypervisor, missing_disks: Iterable[UUID] = ()) -> list[UUID]:
    """Compare all domains of a node with its machines; returns the ids of those that changed.

    One bulk call and one query, whatever their number; a row that differs is read again by itself before it is
    written, because the bulk answer may be older than an operation that just ended.
    """
    facts = {found.uuid: found for found in hypervisor.domains(settings.INSTALLATION_ID)}
    missing = frozenset(missing_disks)
    changed = []
    rows = VirtualMachine.objects.filter(node=node).values_list(
        "pk", "domain_uuid", "observed_state", "observed_reason", "observed_at"
    )
    for pk, domain_uuid, state, reason, observed_at in rows:
        was_there = observed_at is not None and (state != ObservedState.ABSENT or reason == "domain_missing")
        if meaning(facts.get(domain_uuid), was_there, pk in missing) == (state, reason):
            continue
        if observe(pk, hypervisor.domain(domain_uuid), pk in missing):
            changed.append(pk)
    Node.objects.filter(pk=node.pk).update(synced_at=Now(), hypervisor_ok=True)
    return changed
