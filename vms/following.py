"""Letting the wish follow what happened: nothing restarts by itself, and a wish that nobody works on misleads.

A guest that powers off, a domain started with virsh, a start that failed: once no operation is live, the desired
state becomes what was observed. Quotas then count what is there.
"""

from accounts.actor import Actor
from accounts.audit import record

from .models import Operation, VirtualMachine
from .states import LIVE, DesiredState, ObservedState

_FOLLOWS = {
    ObservedState.RUNNING: DesiredState.RUNNING,
    ObservedState.PAUSED: DesiredState.PAUSED,
    ObservedState.STOPPED: DesiredState.STOPPED,
    ObservedState.SUSPENDED: DesiredState.STOPPED,
    ObservedState.CRASHED: DesiredState.STOPPED,
    ObservedState.ABSENT: DesiredState.STOPPED,
}


def let_desired_follow(vm: VirtualMachine) -> bool:
    """Set `desired_state` to what was observed, unless an operation is live or it is being deleted.

    The caller is in a transaction with the machine's row locked. Returns whether it changed; audited as the system.
    """
    wanted = _FOLLOWS[ObservedState(vm.observed_state)]
    if vm.desired_state in (wanted, DesiredState.DELETED):
        return False
    if Operation.objects.filter(vm=vm, status__in=LIVE).exists():
        return False
    before, vm.desired_state = vm.desired_state, wanted
    VirtualMachine.objects.filter(pk=vm.pk).update(desired_state=wanted)
    record(
        Actor.system(),
        "vm.follow",
        project=vm.project,
        kind="vm",
        target=vm.pk,
        name=vm.name,
        before=before,
        after=wanted,
        observed=vm.observed_state,
        reason=vm.observed_reason,
    )
    return True
