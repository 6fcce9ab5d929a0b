"""What the end of an operation means for builds, spares and sandboxes, in the transaction of that end."""

from typing import Any
from uuid import UUID

from django.db.models import Q

from accounts import clock
from accounts.actor import Actor
from vms import dispatch
from vms.models import Operation, VirtualMachine
from vms.states import HOLDS_MEMORY, LIVE, MAKING, DesiredState, OperationKind, OperationStatus, Role

from . import ledger, running
from .models import Sandbox, TemplateBuild
from .services.lease import begin_delete, start_clock, stop_clock
from .states import GOING_ON, BuildStatus, LeaseStatus, RunStatus


def operation_ended(
    sender: Any, vm: VirtualMachine, operation: Operation, status: str, code: str, **_kwargs: Any
) -> None:
    """Receive `vms.settling.operation_ended`: the machine's lock is held."""
    failed = status != OperationStatus.SUCCEEDED
    if operation.kind == OperationKind.PREPARE:
        end_build(vm.pk, operation, status, code)
    elif operation.kind == OperationKind.RESET:
        let_old_go(operation)
    elif operation.kind == OperationKind.SUSPEND and failed:
        go_on_paying(vm)
    elif operation.kind in GOING_ON and status == OperationStatus.FAILED:
        stop_paying(vm)
    done_with = operation.kind == OperationKind.PREPARE or (operation.kind == OperationKind.SPARE and failed)
    if done_with and vm.desired_state != DesiredState.DELETED:
        begin_delete(Actor.system(), vm)
    if vm.role == Role.SANDBOX and operation.kind in MAKING and failed:
        running.lose(vm, "sandbox_failed", _detail(operation), RunStatus.FAILED)


def go_on_paying(vm: VirtualMachine) -> None:
    """Let the clock go on that stood still for a pause, of which nothing came: the sandbox still holds its memory."""
    sandbox = Sandbox.objects.select_related("vm").filter(vm=vm).first()
    if sandbox is not None and vm.observed_state in HOLDS_MEMORY and vm.desired_state != DesiredState.DELETED:
        start_clock(sandbox, "not_paused")


def stop_paying(vm: VirtualMachine) -> None:
    """Let the clock stand still of a sandbox that could not go on: it could not be paused either."""
    sandbox = Sandbox.objects.select_related("vm").filter(vm=vm).first()
    if sandbox is not None and vm.observed_state not in HOLDS_MEMORY and vm.desired_state != DesiredState.DELETED:
        stop_clock(sandbox, "not_resumed")


def let_old_go(reset: Operation) -> None:
    """Let the deletion begin that waited behind a reset; lost, it begins by itself a little later."""
    deletion = Operation.objects.filter(pk=reset.data.get("deletion"), status__in=LIVE).select_related("node").first()
    if deletion is not None:
        Operation.objects.filter(pk=deletion.pk, status=OperationStatus.PENDING).update(not_before=None)
        dispatch.ring(deletion)


def end_build(build_id: UUID, operation: Operation | None, status: str, code: str) -> None:
    """Write how a build ended. A ready one takes the place of the one before, whose disk others may lie on."""
    build = TemplateBuild.objects.filter(pk=build_id, status=BuildStatus.BUILDING).defer("screenshot").first()
    if build is None:
        return
    if status == OperationStatus.SUCCEEDED and build.frozen_at is not None:
        before = Q(template=build.template_id, node=build.node_id, status=BuildStatus.READY)
        TemplateBuild.objects.filter(before).update(status=BuildStatus.RETIRED)
        offered = build.template.active
        TemplateBuild.objects.filter(pk=build.pk).update(
            status=BuildStatus.READY if offered else BuildStatus.RETIRED, screenshot=None
        )
        return
    TemplateBuild.objects.filter(pk=build.pk).update(
        status=BuildStatus.FAILED,
        reason=code or "interrupted",
        reason_detail=_detail(operation)[:500] if operation else "",
    )


def _detail(operation: Operation) -> str:
    """Return the sentence that the operation ended with: the caller's object is older than its row."""
    return Operation.objects.filter(pk=operation.pk).values_list("error_detail", flat=True).first() or ""


def sandbox_goes(sender: Any, instance: Sandbox, **_kwargs: Any) -> None:
    """Receive `pre_delete` of a sandbox: by whichever way it went, what was left of its lease is booked back."""
    if instance.lease_status == LeaseStatus.RUNNING and instance.expires_at is not None:
        left = instance.left(clock.now())
        ledger.book_back(instance.vm, instance.expires_at - left, instance.expires_at, "delete")
