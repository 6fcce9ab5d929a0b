"""What can be asked of an operation that is under way."""

from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.access import Verb
from accounts.actor import Actor
from accounts.audit import record
from accounts.refusals import InvalidState
from accounts.retrying import retried

from .. import broadcast
from ..models import Operation, VirtualMachine, lock_vm
from ..queries import get_operation_for
from ..settling import settle
from ..states import CANCELLABLE, LIVE, OperationStatus


@retried
@transaction.atomic
def request_cancel(actor: Actor, operation_id: UUID | str) -> Operation:
    """Cancel an operation: at once while nobody works on it, else at its next step. InvalidState when too late."""
    operation = get_operation_for(actor.who, operation_id, Verb.CHANGE)
    vm = lock_vm(operation.machine_id)  # the machine before its operation, as everywhere
    locked = Operation.objects.select_for_update(of=("self",), no_key=True).select_related("node", "project")
    operation = locked.get(pk=operation.pk)
    if operation.status not in LIVE:
        raise InvalidState(_("This has ended already."), code="ended")
    if operation.kind not in CANCELLABLE:
        raise InvalidState(
            _("This cannot be cancelled: stopping half-way would leave the machine broken."),
            code="not_cancellable",
        )
    if operation.status == OperationStatus.PENDING and not operation.step:
        _cancel_now(operation, vm)
    else:
        Operation.objects.filter(pk=operation.pk, status__in=LIVE).update(cancel_requested=True)
    operation.refresh_from_db()
    record(
        actor,
        "operation.cancel",
        project=operation.project,
        kind="operation",
        target=operation.pk,
        name=operation.vm_name,
    )
    broadcast.operation_changed(operation)
    return operation


def _cancel_now(operation: Operation, vm: VirtualMachine | None) -> None:
    Operation.objects.filter(pk=operation.pk, status=OperationStatus.PENDING).update(
        status=OperationStatus.CANCELLED, finished_at=Now(), error_code="cancelled", fence=F("fence") + 1
    )
    if vm is not None:
        settle(vm, operation, OperationStatus.CANCELLED, "cancelled")
