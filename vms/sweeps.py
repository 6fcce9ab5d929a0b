"""What is looked after now and then: bells nobody heard, operations past their time, old tickets and answers."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.retrying import retried

from . import broadcast, dispatch
from .models import ConsoleSession, ConsoleTicket, IdempotencyRecord, Node, Operation, VirtualMachine, lock_vm
from .settling import rank, settle
from .states import ATTENTION, LIVE, OperationKind, OperationStatus, Status, is_away

RING_AT_MOST = 500  # a sweep rings for the oldest; the next one for the rest
IDEMPOTENCY_KEPT = timedelta(hours=24)


def ring_due(older_than: timedelta, node: Node | None = None) -> int:
    """Ring for pending operations that nobody claimed and running ones with a dead lease; returns how many.

    Each is rung at most every `older_than`, however many sweeps run; all by the database's clock, because this
    process's may be an hour off.
    """
    waiting = Q(status=OperationStatus.PENDING, created_at__lt=Now() - older_than) & (
        Q(not_before=None) | Q(not_before__lte=Now())
    )
    dead = Q(status=OperationStatus.RUNNING, lease_expires_at__lte=Now()) | Q(
        status=OperationStatus.RUNNING, lease_expires_at=None
    )
    quiet = Q(rung_at=None) | Q(rung_at__lt=Now() - older_than)
    due = Operation.objects.filter(waiting | dead, quiet).select_related("node")
    if node is not None:
        due = due.filter(node=node)
    found = list(due.order_by("created_at")[:RING_AT_MOST])
    Operation.objects.filter(pk__in=[op.pk for op in found]).update(rung_at=Now())
    for operation in found:
        dispatch.ring_now(operation.pk, operation.node.queue)
    return len(found)


def end_overdue() -> int:
    """Fail operations past their deadline that nobody works on: their node is away, and waiting has to end."""
    overdue = Operation.objects.filter(status__in=LIVE, deadline_at__lt=Now()).filter(
        Q(lease_expires_at=None) | Q(lease_expires_at__lte=Now())
    )
    ended = 0
    for operation in list(overdue.select_related("node", "project")[:RING_AT_MOST]):
        ended += _end_overdue(operation)
    return ended


@retried
@transaction.atomic
def _end_overdue(operation: Operation) -> int:
    vm = lock_vm(operation.machine_id)
    done = vm is None and operation.kind == OperationKind.DELETE  # its worker died right before it could say so
    code, sentence = ("", "") if done else _why_overdue(operation)
    changed = (
        Operation.objects.filter(pk=operation.pk, status__in=LIVE, fence=operation.fence)
        .filter(Q(lease_expires_at=None) | Q(lease_expires_at__lte=Now()))
        .update(
            status=OperationStatus.SUCCEEDED if done else OperationStatus.FAILED,
            finished_at=Now(),
            error_code=code,
            error_detail=sentence,
            fence=F("fence") + 1,
            lease_owner="",
            lease_expires_at=None,
        )
    )
    if changed and vm is not None:
        settle(vm, operation, OperationStatus.FAILED, code)
    if changed:
        broadcast.operation_changed(operation)
    return changed


def _why_overdue(operation: Operation) -> tuple[str, str]:
    """Return code and sentence: its node was away, or no worker there knew how to do it."""
    node = {"node": operation.node.name}
    if operation.is_parked:
        return "worker_too_old", _("No worker on %(node)s is new enough for this. An admin has to update it.") % node
    return "node_away", _("%(node)s did not carry this out in time. Try again when it is back.") % node


def rank_by_nodes() -> None:
    """Move the machines of nodes that went away, or came back, to where a list should show them."""
    now = timezone.now()
    for node in Node.objects.all():
        unknown = ATTENTION[Status.UNKNOWN]
        rows = VirtualMachine.objects.filter(node=node).exclude(operations__status__in=LIVE).select_related("node")
        if is_away(node.synced_at, now, settings.NODE_AWAY_AFTER):
            moved = rows.filter(attention_rank__gt=unknown, desired_state__in=("running", "stopped", "paused"))
            ids = dict(moved.values_list("pk", "project_id"))
            VirtualMachine.objects.filter(pk__in=list(ids)).update(attention_rank=unknown, version=F("version") + 1)
            for project_id in set(ids.values()):  # one hint a project, however many machines it has there
                broadcast.hint(project_id, "node", node.pk, 0)
        else:
            for vm in rows.filter(attention_rank=unknown):
                with transaction.atomic():
                    rank(vm)
                    broadcast.vm_changed(vm)


def forget_old() -> None:
    """Remove tickets that ran out, sessions that no gateway keeps, and answers older than a day."""
    ConsoleTicket.objects.filter(expires_at__lt=Now() - timedelta(minutes=5)).delete()
    ConsoleSession.objects.filter(seen_at__lt=Now() - timedelta(minutes=1)).delete()
    IdempotencyRecord.objects.filter(created_at__lt=Now() - IDEMPOTENCY_KEPT).delete()


__all__ = ["end_overdue", "forget_old", "rank_by_nodes", "ring_due"]
