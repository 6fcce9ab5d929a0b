"""How every operation begins: under the machine's lock, if its state allows, in the place of what it pre-empts."""

from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.actor import Actor
from accounts.audit import record
from accounts.refusals import InvalidState, OperationInProgress

from .. import broadcast, dispatch
from ..models import Operation, VirtualMachine
from ..settling import undo_size
from ..states import (
    DESIRED_AFTER,
    LEGAL_FROM,
    LIVE,
    DesiredState,
    ObservedState,
    OperationKind,
    OperationStatus,
    preempts,
)
from ..steps import DEADLINE_SECONDS

log = structlog.get_logger(__name__)
_REFUSED = {
    OperationKind.START: _("This machine is on already."),
    OperationKind.STOP: _("Only a running machine can be asked to shut down."),
    OperationKind.FORCE_OFF: _("This machine is off already."),
    OperationKind.REBOOT: _("Only a running machine can reboot. Start it."),
    OperationKind.PAUSE: _("Only a running machine can be paused."),
    OperationKind.RESUME: _("Only a paused machine can be resumed."),
    OperationKind.RESIZE: _("The machine must be off to change its size. Stop it first."),
    OperationKind.CREATE: _("This machine exists already."),
    OperationKind.PREPARE: _("This machine exists already."),
    OperationKind.SPARE: _("This machine exists already."),
    OperationKind.CLONE: _("This machine exists already."),
    OperationKind.CLAIM: _("This machine is not waiting."),
    OperationKind.SUSPEND: _("Only a machine that is on can be paused to disk."),
    OperationKind.RESTORE: _("Only a machine that was paused to disk can continue from there."),
}


def begin(actor: Actor, vm: VirtualMachine, kind: str, **data: Any) -> Operation:
    """Journal an operation on `vm`, whose row the caller has locked. InvalidState, OperationInProgress.

    A second delete returns the live one. Rings the node and hints the browsers after the commit.
    """
    live = Operation.objects.filter(vm=vm, status__in=LIVE).first()
    if live is not None:
        if live.kind == kind == OperationKind.DELETE:
            return live
        if not preempts(kind, live.kind):
            raise in_progress(live)
        preempt(live, kind)
    _check_state(vm, kind)
    operation = journal(actor, vm, kind, data)
    desired = DESIRED_AFTER.get(kind)
    changes: dict[str, Any] = {"failure": ""}
    if desired:
        changes["desired_state"] = desired
    VirtualMachine.objects.filter(pk=vm.pk).update(**changes)
    for name, value in changes.items():
        setattr(vm, name, value)
    record(
        actor,
        f"vm.{kind}",
        project=vm.project,
        kind="vm",
        target=vm.pk,
        name=vm.name,
        operation=str(operation.pk),
    )
    broadcast.vm_changed(vm)
    return operation


def journal(actor: Actor, vm: VirtualMachine, kind: str, data: dict[str, Any]) -> Operation:
    """Write the operation's row and ring for it; the database refuses a second live one."""
    try:
        with transaction.atomic():
            operation = Operation.objects.create(
                kind=kind,
                vm=vm,
                vm_name=vm.name,
                project=vm.project,
                node=vm.node,
                actor=actor.user,
                data=data,
                request_id=actor.request_id,
                deadline_at=Now() + timedelta(seconds=DEADLINE_SECONDS[kind]),
            )
    except IntegrityError:
        raise OperationInProgress(_("Another operation on this machine has just begun.")) from None
    operation.refresh_from_db(fields=["created_at", "deadline_at"])
    dispatch.ring(operation)
    transaction.on_commit(partial(_log_asked, operation, actor))
    return operation


def _log_asked(operation: Operation, actor: Actor) -> None:
    """Tie the request to the operation: the worker's lines bear both ids too."""
    log.info(
        "operation_asked",
        operation_id=str(operation.pk),
        request_id=operation.request_id,
        kind=operation.kind,
        vm=str(operation.vm_id),
        actor=actor.name,
    )


def in_progress(live: Operation) -> OperationInProgress:
    return OperationInProgress(
        _("This machine is busy: %(kind)s is under way. Wait for it, or cancel it.")
        % {"kind": str(live.get_kind_display()).lower()},
        operation=str(live.pk),
    )


def preempt(live: Operation, kind: str) -> None:
    """End a live operation in favour of another. Its worker sees the new fence before its next side effect.

    The lease stays until that worker lets go or it runs out: the successor is not claimed before.
    """
    Operation.objects.filter(pk=live.pk, status__in=LIVE).update(
        status=OperationStatus.CANCELLED,
        fence=F("fence") + 1,
        finished_at=Now(),
        error_code="preempted",
        error_detail=str(_("%(kind)s took its place.") % {"kind": OperationKind(kind).label}),
    )
    live.refresh_from_db()
    if live.kind == OperationKind.RESIZE:
        undo_size(live)
    broadcast.operation_changed(live)


def _check_state(vm: VirtualMachine, kind: str) -> None:
    if vm.desired_state == DesiredState.DELETED and kind != OperationKind.DELETE:
        raise InvalidState(_("This machine is being deleted."))
    if vm.observed_state not in LEGAL_FROM[kind]:
        if vm.observed_state == ObservedState.ABSENT:
            raise InvalidState(_("This machine is not there. Start it to define it again, or delete it."))
        raise InvalidState(_REFUSED[OperationKind(kind)])
