"""What the end of an operation means for its machine, whoever ends it: the runner, a sweep, a cancel, a successor."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from . import broadcast
from .following import let_desired_follow
from .models import Operation, VirtualMachine, lock_vm
from .rotation import STARTING, cordon_if_failing
from .states import LIVE, MAKING, ObservedState, OperationKind, OperationStatus, attention_rank

operation_ended = Signal()  # sent in the transaction of the end, with vm (locked), operation, status, code


def settle(vm: VirtualMachine, operation: Operation, status: str, code: str) -> None:
    """Write what this end means; the caller is in a transaction, holds the machine's lock and has ended the row."""
    changes: dict[str, Any] = {}
    if status == OperationStatus.SUCCEEDED:
        changes["failure"] = ""
        if operation.kind == OperationKind.CREATE:
            changes["sealed_seed"] = None
    elif operation.kind == OperationKind.DELETE:
        changes["failure"] = "delete_failed"
    elif operation.kind in MAKING and vm.observed_state == ObservedState.ABSENT:
        changes["failure"] = "create_failed"
    else:
        changes["failure"] = code if status == OperationStatus.FAILED else ""
    if operation.kind == OperationKind.RESIZE and status != OperationStatus.SUCCEEDED:
        undo_size(operation)
    VirtualMachine.objects.filter(pk=vm.pk).update(**changes)
    for name, value in changes.items():
        setattr(vm, name, value)
    let_desired_follow(vm)
    rank(vm)
    if status == OperationStatus.FAILED and operation.kind in STARTING:
        cordon_if_failing(vm.node)
    operation_ended.send(Operation, vm=vm, operation=operation, status=status, code=code)
    broadcast.vm_changed(vm)


def rank(vm: VirtualMachine) -> None:
    """Store the attention rank that follows from the row; the caller is in a transaction."""
    live = Operation.objects.filter(vm=vm, status__in=LIVE).values_list("kind", flat=True).first() or ""
    value = attention_rank(vm.facts(live), timezone.now(), settings.NODE_AWAY_AFTER)
    if value != vm.attention_rank:
        vm.attention_rank = value
        VirtualMachine.objects.filter(pk=vm.pk).update(attention_rank=value)


@transaction.atomic
def undo_size(operation: Operation) -> None:
    """Give back what a resize had counted in advance; a disk that did grow keeps its size."""
    before = operation.data.get("before", {})
    vm = lock_vm(operation.machine_id)
    if vm is None or not before:
        return
    grown = sum(volume.size_gib for volume in vm.volumes.all())
    VirtualMachine.objects.filter(pk=vm.pk).update(
        flavor=before["flavor"],
        vcpus=before["vcpus"],
        memory_mib=before["memory_mib"],
        disk_gib=max(before["disk_gib"], grown),
    )


__all__ = ["operation_ended", "rank", "settle", "undo_size"]
