"""Begun or not: what hands a run to the gateway of its node, and what ends runs whose machine went away."""

from uuid import UUID

import structlog
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from accounts.refusals import Refusal
from vms.models import Operation, VirtualMachine
from vms.states import LIVE, MAKING, ObservedState

from . import gateway_runs
from .models import Run, Sandbox
from .states import NOT_KEPT, RUN_LIVE, RunStatus

log = structlog.get_logger(__name__)
AT_ONCE = 50


def may_begin(vm: VirtualMachine) -> bool:
    """Can a command be run in this machine now? Not while it is made: it has no identity of its own yet."""
    if vm.observed_state != ObservedState.RUNNING:
        return False
    return not Operation.objects.filter(vm=vm, status__in=LIVE, kind__in=MAKING).exists()


def start(run_id: UUID) -> bool:
    """Hand a waiting run to its gateway; returns whether it took it. One that it did not take goes on waiting."""
    run = Run.objects.filter(pk=run_id, status=RunStatus.PENDING).select_related("vm", "vm__node").first()
    if run is None:
        return False
    try:
        gateway_runs.start(run)
    except Refusal as refusal:  # a sweep tries again
        log.warning("run_not_started", run=str(run_id), code=refusal.code)
        return False
    return True


def start_waiting(vm: VirtualMachine) -> int:
    """Hand over every run that waits for this machine, the oldest first; returns how many were taken."""
    waiting = Run.objects.filter(vm=vm, status=RunStatus.PENDING).order_by("created_at").values_list("pk", flat=True)
    return sum(start(run_id) for run_id in list(waiting[:AT_ONCE]))


def lose(vm: VirtualMachine, code: str, sentence: str, status: str = RunStatus.LOST) -> int:
    """End the runs of a machine that are not at their end: their guest is gone, or never came."""
    return Run.objects.filter(vm=vm, status__in=RUN_LIVE).update(
        status=status, finished_at=Now(), error_code=code, error_detail=sentence[:500], **NOT_KEPT
    )


def in_use(sandbox: Sandbox) -> bool:
    """Is somebody using this sandbox now? A command that runs is use, and so is an open console."""
    vm = sandbox.vm
    return Run.objects.filter(vm=vm, status__in=RUN_LIVE).exists() or vm.console_sessions.exists()


def lost_by_reset() -> str:
    return _("The sandbox was reset while this ran.")
