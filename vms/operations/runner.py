"""The runner: claim, walk the steps from where the journal says, end with a reason.

Killed anywhere, the next claim starts at the step that was under way, and every step looks before it acts.
"""

import random
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import override

from accounts.retrying import retried
from hypervisor import errors
from hypervisor.api import Hypervisor

from .. import broadcast, dispatch
from ..models import Operation, VirtualMachine, lock_vm
from ..settling import settle
from ..states import LIVE, OPERATION_TRANSITIONS, OperationKind, OperationStatus
from ..steps import DEADLINE_SECONDS, STEPS, Step, steps_of
from .context import CancelAsked, Context, Fenced, StepFailed
from .handlers import HANDLERS
from .leases import Lease, claim, keeper, release, worker_name

log = structlog.get_logger(__name__)


class Unknown(Exception):
    """The journal names a kind or step that this version does not have."""


PARKED = timedelta(seconds=20)
PARKED_AT_MOST = timedelta(days=1)  # instead of its own deadline: an upgrade may be finished by people
MAX_TRIES = 4  # of one step that fails in a way that might pass; an absent hypervisor is waited for
BACKOFF_SECONDS = (1, 2, 5, 10, 20, 30)


def run(operation_id: UUID, hypervisor: Hypervisor) -> bool:
    """Carry an operation as far as it goes now; returns whether the claim was ours. Errors end in the row."""
    lease = claim(operation_id, worker_name())
    if lease is None:
        return False
    keeper.hold(lease)
    try:
        with structlog.contextvars.bound_contextvars(operation_id=str(operation_id)), override("en"):
            _attempt(lease, hypervisor)
    finally:
        keeper.drop(lease)
        release(lease)
        _ring_successor(operation_id)
    return True


def _attempt(lease: Lease, hypervisor: Hypervisor) -> None:
    operation = Operation.objects.select_related("node", "project", "actor").get(pk=lease.operation_id)
    vm = VirtualMachine.objects.select_related("node", "project", "image").filter(pk=operation.machine_id).first()
    if vm is None:
        _end_without_machine(lease, operation)
        return
    context = Context(operation, vm, hypervisor, lease)
    with structlog.contextvars.bound_contextvars(request_id=operation.request_id):
        _carry(context)


def _carry(context: Context) -> None:
    operation = context.operation
    try:
        _check_actor(operation)
        _walk(context)
    except Fenced:
        log.info("operation_taken_away", kind=operation.kind)
    except CancelAsked:
        _end(context, OperationStatus.CANCELLED, "cancelled", _("Cancelled by a person."))
    except StepFailed as failure:
        _end(context, OperationStatus.FAILED, failure.code, failure.sentence, failure.staff_detail)
    except Unknown:
        _park(context)
    except errors.HypervisorError as error:
        _again_or_fail(context, error)
    except DatabaseError:  # nothing can be written now: the lease runs out, and the next claim goes on
        raise
    except Exception as error:
        log.exception("step_broke", step=operation.step, kind=operation.kind)
        _again_or_fail(context, errors.HypervisorError(f"{type(error).__name__}: {error}"))
    else:
        _end(context, OperationStatus.SUCCEEDED)


def _check_actor(operation: Operation) -> None:
    """An operation re-authorises when it starts: a user who was shut out gets nothing more done (A21)."""
    if operation.actor is not None and not operation.actor.is_active and operation.kind != OperationKind.DELETE:
        raise StepFailed("actor_disabled", _("The account that asked for this has been closed."))


def _walk(context: Context) -> None:
    operation = context.operation
    if operation.kind not in STEPS:
        raise Unknown
    steps = steps_of(operation.kind, operation.starts)
    names = [step.name for step in steps]
    if operation.step and operation.step not in names:
        raise Unknown
    if operation.is_parked:
        _unpark(context)
    start = names.index(operation.step) if operation.step else 0
    for index in range(start, len(steps)):
        _enter(context, steps, index)
        began = time.monotonic()
        HANDLERS[steps[index].name](context)
        operation.step_times = [*operation.step_times, [steps[index].name, round(time.monotonic() - began, 2)]]


def _enter(context: Context, steps: tuple[Step, ...], index: int) -> None:
    """Journal the step before it is begun, and stop here when the time is over or a person asked to.

    What the step before it took is written with it, or with the end.
    """
    operation, step = context.operation, steps[index]
    changed = Operation.objects.filter(context.may_go_on()).update(
        step=step.name, step_at=Now(), progress=100 * index // len(steps), step_times=operation.step_times
    )
    if not changed:
        context.guard()  # says why
        raise Fenced
    operation.step = step.name
    context.announce()


def _park(context: Context) -> None:
    """Leave an operation to a newer worker: its kind or step is none that this version knows (F25)."""
    operation = context.operation
    log.warning("operation_parked", kind=operation.kind, step=operation.step)
    values: dict[str, Any] = {} if operation.is_parked else {"deadline_at": Now() + PARKED_AT_MOST}
    Operation.objects.filter(context.lease.rows()).update(
        status=OperationStatus.PENDING, not_before=Now() + PARKED, fence=F("fence") + 1,
        data={**operation.data, "parked": True}, **values,
    )  # fmt: skip
    context.announce()


def _unpark(context: Context) -> None:
    """This version knows it: its time runs from now."""
    operation = context.operation
    context.remember(parked=False)
    Operation.objects.filter(context.lease.rows()).update(
        deadline_at=Now() + timedelta(seconds=DEADLINE_SECONDS[operation.kind])
    )


def _again_or_fail(context: Context, error: errors.HypervisorError) -> None:
    """Decide by the kind of error: wait for an absent hypervisor, retry what may pass, give up on what cannot."""
    operation = context.operation
    detail = f"{type(error).__name__}: {error.detail}"[:2000]
    log.warning("step_failed", step=operation.step, kind=operation.kind, error=detail)
    if isinstance(error, errors.NoSpace):
        sentence = _("The storage pool or the node is full. An admin has to make room.")
        _end(context, OperationStatus.FAILED, "pool_full", sentence, detail)
        return
    if isinstance(error, errors.FileMissing):
        sentence = _(
            "A file of this machine's disk, or of the image beneath it, is missing. An admin has to put it back."
        )
        _end(context, OperationStatus.FAILED, error.code, sentence, detail)
        return
    absent = isinstance(error, errors.Unavailable)
    tries = 0 if absent else operation.data.get(f"tries_{operation.step}", 0) + 1
    if tries >= MAX_TRIES:
        sentence = _("The hypervisor refused this step several times. An admin can see why.")
        _end(context, OperationStatus.FAILED, error.code, sentence, detail)
        return
    wait = BACKOFF_SECONDS[min(operation.attempt, len(BACKOFF_SECONDS)) - 1] * random.uniform(0.8, 1.2)  # noqa: S311
    Operation.objects.filter(context.lease.rows()).update(
        status=OperationStatus.PENDING,
        not_before=Now() + timedelta(seconds=wait),
        data={**operation.data, f"tries_{operation.step}": tries},
        staff_detail=detail,
    )
    context.announce()


@retried
def _end(context: Context, status: str, code: str = "", sentence: str = "", staff_detail: str = "") -> None:
    """Write the end, if the operation is still ours; then let the machine's row follow what happened."""
    assert status in OPERATION_TRANSITIONS[OperationStatus.RUNNING]
    operation = context.operation
    values: dict[str, Any] = {
        "status": status,
        "finished_at": Now(),
        "error_code": code,
        "error_detail": sentence[:500],
        "step_times": operation.step_times,
        "fence": F("fence") + 1,
    }
    if staff_detail:
        values["staff_detail"] = staff_detail
    if status == OperationStatus.SUCCEEDED:
        values["progress"] = 100
    try:
        context.observe()
    except errors.HypervisorError as error:  # the observer's next sync will tell; the end must be written now
        log.info("not_observed_at_end", error=error.code)
    with transaction.atomic():
        vm = lock_vm(operation.machine_id)
        if not Operation.objects.filter(context.lease.rows()).update(**values):
            return
        if vm is not None:
            settle(vm, operation, status, code)
        broadcast.operation_changed(operation)
    log.info("operation_ended", kind=operation.kind, status=status, code=code)


def _end_without_machine(lease: Lease, operation: Operation) -> None:
    """The machine's row has gone: a delete is done (killed between its last commit and its end); others are moot."""
    done = operation.kind == OperationKind.DELETE
    Operation.objects.filter(lease.rows()).update(
        status=OperationStatus.SUCCEEDED if done else OperationStatus.CANCELLED,
        finished_at=Now(),
        progress=100 if done else operation.progress,
        error_code="" if done else "vm_gone",
    )
    with transaction.atomic():
        broadcast.operation_changed(operation)


def _ring_successor(operation_id: UUID) -> None:
    """Ring for an operation that waited for this one to let go."""
    vm_id = Operation.objects.filter(pk=operation_id).values_list("vm_id", flat=True).first()
    waiting = (
        Operation.objects.filter(vm=vm_id, status__in=LIVE, not_before=None)
        .exclude(pk=operation_id)
        .select_related("node")
        .first()
    )
    if waiting is not None:
        dispatch.ring_now(waiting.pk, waiting.node.queue)
