"""The only writer of what was observed. A row is written when something changed, and never by guessing.

A reset moves what was observed together with the domain that it was observed of.
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.retrying import retried
from hypervisor.api import Hypervisor
from hypervisor.specs import DomainFacts, DomainState

from . import broadcast, sampling
from .following import let_desired_follow
from .models import Node, VirtualMachine, lock_vm
from .settling import rank
from .states import ObservedState

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
        found = "storage_missing" if storage_missing else "domain_missing"
        return ObservedState.ABSENT, found if was_there else ""
    reason = facts.reason if facts.reason in ("io_error", "panicked", "crashed") else ""
    return _SEEN[facts.state], "storage_missing" if storage_missing else reason


def was_ever_there(observed_at: datetime | None, state: str, reason: str) -> bool:
    """Has this machine's domain been seen at some time? One that never was is in the making, not missing."""
    return observed_at is not None and (state != ObservedState.ABSENT or reason != "")


@retried
def observe(vm_id: UUID, domain_uuid: UUID, facts: DomainFacts | None, storage_missing: bool | None = None) -> bool:
    """Store what was just read about the domain of one machine. Returns whether anything changed.

    A reset gives a machine another domain: what was read of the one before is not told of it.

    `storage_missing` None: not looked at, so what is known about the disk stays.
    """
    with transaction.atomic():
        vm = lock_vm(vm_id)
        if vm is None or vm.domain_uuid != domain_uuid:
            return False
        missing = vm.observed_reason == "storage_missing" if storage_missing is None else storage_missing
        was_there = was_ever_there(vm.observed_at, vm.observed_state, vm.observed_reason)
        state, reason = meaning(facts, was_there, missing)
        if (vm.observed_state, vm.observed_reason) == (state, reason):
            return False
        if state == ObservedState.RUNNING and vm.observed_state != ObservedState.RUNNING:
            vm.started_at = timezone.now()
        elif state not in (ObservedState.RUNNING, ObservedState.PAUSED):
            vm.started_at = None
        vm.observed_state, vm.observed_reason = state, reason
        if state != ObservedState.ABSENT and vm.failure == "create_failed":
            vm.failure = ""  # its end was written while the hypervisor was away: it was made after all
        VirtualMachine.objects.filter(pk=vm.pk).update(
            observed_state=state,
            observed_reason=reason,
            observed_at=Now(),
            started_at=vm.started_at,
            failure=vm.failure,
        )
        let_desired_follow(vm)  # here, or whoever dies next leaves a wish that no later look finds changed
        rank(vm)
        broadcast.vm_changed(vm)
        return True


def sync(node: Node, hypervisor: Hypervisor, disks: Mapping[UUID, bool] | None = None) -> list[UUID]:
    """Compare all domains of a node with its machines; returns the ids of those that changed.

    One bulk call (which also says what the machines use) and a constant number of queries, whatever their number. A
    row that differs is read again by itself before it is written, because the bulk answer may be older than an
    operation that just ended. `disks` says of each machine whose disk was looked for whether it was there; what is
    known of the others' disks stays.
    """
    facts = {found.uuid: found for found in hypervisor.domains(settings.INSTALLATION_ID)}
    sampling.store(node, facts.values())
    there = disks or {}
    changed = []
    rows = VirtualMachine.objects.filter(node=node).values_list(
        "pk", "domain_uuid", "observed_state", "observed_reason", "observed_at"
    )
    for pk, domain_uuid, state, reason, observed_at in rows:
        was_there = was_ever_there(observed_at, state, reason)
        missing = not there[pk] if pk in there else None
        known = reason == "storage_missing" if missing is None else missing
        if meaning(facts.get(domain_uuid), was_there, known) == (state, reason):
            continue
        if observe(pk, domain_uuid, hypervisor.domain(domain_uuid), missing):
            changed.append(pk)
    Node.objects.filter(pk=node.pk).update(synced_at=Now(), hypervisor_ok=True)
    return changed
