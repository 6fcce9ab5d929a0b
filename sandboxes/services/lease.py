"""The lease of a sandbox: longer, at rest, taken back, ended; and a sandbox that becomes an ordinary machine."""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from accounts import clock
from accounts.access import Verb
from accounts.actor import Actor
from accounts.audit import record
from accounts.dimensions import Dimension
from accounts.refusals import BadInput, InvalidState
from accounts.retrying import retried
from vms import broadcast, quotas
from vms.models import Operation, VirtualMachine
from vms.services.begin import begin
from vms.services.power import begin_checked_start
from vms.states import HOLDS_MEMORY, DesiredState, ObservedState, OperationKind, Role
from vms.wellformed import Errors

from .. import ledger
from ..models import Sandbox
from ..queries import get_sandbox_for
from ..states import LeaseStatus
from .wellformed import check_lease

Answer = tuple[Sandbox, Operation]


def _locked(actor: Actor, vm_id: UUID | str) -> Sandbox:
    """Return the sandbox with the project's and its machine's lock taken, in that order."""
    seen = get_sandbox_for(actor.who, vm_id, Verb.CHANGE)
    quotas.lock(seen.vm.project)
    sandbox = get_sandbox_for(actor.who, vm_id, Verb.CHANGE, lock=True)
    if sandbox.vm.desired_state == DesiredState.DELETED:
        raise InvalidState(_("This sandbox is being deleted."))
    return sandbox


def refuse_nameless(sandbox: Sandbox) -> None:
    """Raise InvalidState for a clone that never got an identity of its own: it would be its template's twin."""
    if not sandbox.build_id or sandbox.named_at is not None:
        return
    if sandbox.lease_status == LeaseStatus.ENDED:
        raise InvalidState(_("This sandbox never got an identity of its own, and its time is up. Delete it."))
    raise InvalidState(_("This sandbox has no identity of its own: its reset did not end. Reset it again."))


def require_minutes(sandbox: Sandbox, seconds: float) -> None:
    """Raise QuotaExceeded where the months have not so much time left."""
    now = clock.now()
    minutes = ledger.minutes_now(now, now + timedelta(seconds=seconds))
    quotas.require(sandbox.vm.project, sandbox.vm.created_by, {Dimension.SANDBOX_MINUTES.value: minutes})


@retried
@transaction.atomic
def request_extend(actor: Actor, vm_id: UUID | str, minutes: int) -> Sandbox:
    """Give a lease more minutes, up to what policy allows to be left. BadInput, InvalidState, QuotaExceeded."""
    sandbox = _locked(actor, vm_id)
    if sandbox.lease_status == LeaseStatus.ENDED:
        raise InvalidState(_("This lease has ended. Take the sandbox back first."), code="lease_ended")
    now = clock.now()
    most = settings.SANDBOX_LEASE_MINUTES[1]
    if minutes < 1 or sandbox.left(now) + timedelta(minutes=minutes) > timedelta(minutes=most):
        sentence = _("At most %(most)s minutes may be left of a lease.") % {"most": most}
        raise BadInput({"minutes": [sentence]})
    if sandbox.lease_status == LeaseStatus.PAUSED:
        assert sandbox.remaining_seconds is not None
        sandbox.remaining_seconds += minutes * 60
    else:
        assert sandbox.expires_at is not None
        require_minutes(sandbox, minutes * 60)
        ledger.book(sandbox.vm, sandbox.expires_at, sandbox.expires_at + timedelta(minutes=minutes), "extend")
        sandbox.run_until(sandbox.expires_at + timedelta(minutes=minutes), now)
    sandbox.lease_minutes += minutes
    sandbox.warned_at = None
    sandbox.save(update_fields=["lease_minutes", "warned_at", *sandbox.CLOCK])
    _note(actor, sandbox, "sandbox.extend", minutes=minutes)
    return sandbox


@retried
@transaction.atomic
def request_pause(actor: Actor, vm_id: UUID | str) -> Answer:
    """Pause a sandbox to disk; its clock stands still. InvalidState, OperationInProgress."""
    sandbox = _locked(actor, vm_id)
    if sandbox.lease_status == LeaseStatus.ENDED:
        raise InvalidState(_("This lease has ended: the sandbox is paused to disk already."), code="lease_ended")
    operation = begin(actor, sandbox.vm, OperationKind.SUSPEND)
    stop_clock(sandbox, "pause")
    _note(actor, sandbox, "sandbox.pause", operation=str(operation.pk))
    return sandbox, operation


def stop_clock(sandbox: Sandbox, why: str) -> None:
    """Let the clock stand still and book back what is left; the caller holds the machine's lock."""
    if sandbox.expires_at is None or sandbox.lease_status != LeaseStatus.RUNNING:
        return
    now = clock.now()
    left = sandbox.left(now)
    ledger.book_back(sandbox.vm, sandbox.expires_at - left, sandbox.expires_at, why)
    sandbox.remaining_seconds, sandbox.expires_at = max(60, round(left.total_seconds())), None
    sandbox.save(update_fields=["remaining_seconds", "expires_at"])


def start_clock(sandbox: Sandbox, why: str) -> None:
    """Let a clock go on that stands still, and book what is left; the caller holds the machine's lock."""
    if sandbox.lease_status != LeaseStatus.PAUSED or sandbox.remaining_seconds is None:
        return
    now = clock.now()
    end = now + timedelta(seconds=sandbox.remaining_seconds)
    sandbox.run_until(end, now)
    sandbox.used_at = now
    sandbox.save(update_fields=["used_at", *sandbox.CLOCK])
    ledger.book(sandbox.vm, now, end, why)


@retried
@transaction.atomic
def request_resume(actor: Actor, vm_id: UUID | str) -> Answer:
    """Let a sandbox go on that was paused to disk, or switch on one that is off; its clock goes on."""
    sandbox = _locked(actor, vm_id)
    if sandbox.lease_status == LeaseStatus.ENDED:
        raise InvalidState(_("This lease has ended. Take the sandbox back first."), code="lease_ended")
    operation = _wake(actor, sandbox)
    if sandbox.remaining_seconds is not None:
        require_minutes(sandbox, sandbox.remaining_seconds)
        start_clock(sandbox, "resume")
    _note(actor, sandbox, "sandbox.resume", operation=str(operation.pk))
    return sandbox, operation


def _wake(actor: Actor, sandbox: Sandbox) -> Operation:
    vm = sandbox.vm
    still_runs = vm.observed_state == ObservedState.RUNNING and sandbox.lease_status == LeaseStatus.ENDED
    if still_runs:  # its pause failed: only its lease begins anew
        return begin(actor, vm, OperationKind.RESTORE)
    if vm.observed_state != ObservedState.SUSPENDED:  # from there it is given one
        refuse_nameless(sandbox)
    if vm.observed_state == ObservedState.PAUSED:
        return begin(actor, vm, OperationKind.RESUME)
    if vm.observed_state != ObservedState.SUSPENDED:
        return begin_checked_start(actor, vm)
    if vm.desired_state != DesiredState.RUNNING and vm.observed_state not in HOLDS_MEMORY:
        quotas.require(vm.project, vm.created_by, quotas.needs_running(vm.vcpus, vm.memory_mib), exclude=vm.pk)
    return begin(actor, vm, OperationKind.RESTORE)


@retried
@transaction.atomic
def request_restore(actor: Actor, vm_id: UUID | str, lease_minutes: int | None = None) -> Answer:
    """Take a sandbox back whose lease has ended, within its grace, with a new lease. InvalidState, QuotaExceeded."""
    sandbox = _locked(actor, vm_id)
    if sandbox.lease_status != LeaseStatus.ENDED:
        raise InvalidState(_("The lease of this sandbox has not ended."))
    minutes = sandbox.template.usual_lease_minutes if lease_minutes is None else lease_minutes
    errors: Errors = {}
    check_lease(minutes, errors)
    if errors:
        raise BadInput(errors)
    operation = _wake(actor, sandbox)
    require_minutes(sandbox, minutes * 60)
    now = clock.now()
    end = now + timedelta(minutes=minutes)
    sandbox.run_until(end, now)
    sandbox.lease_minutes = minutes
    sandbox.ended_at = sandbox.grace_until = sandbox.warned_at = None
    sandbox.used_at = now
    sandbox.save()
    ledger.book(sandbox.vm, now, end, "restore")
    _note(actor, sandbox, "sandbox.restore", operation=str(operation.pk), lease_minutes=minutes)
    return sandbox, operation


@retried
@transaction.atomic
def request_keep(actor: Actor, vm_id: UUID | str) -> VirtualMachine:
    """Turn a sandbox into an ordinary machine, where the quota of machines allows. It keeps its network and disk."""
    sandbox = _locked(actor, vm_id)
    vm = sandbox.vm
    if Operation.objects.filter(vm=vm, status__in=("pending", "running")).exists():
        raise InvalidState(_("This sandbox is busy. Keep it once it is at rest."))
    refuse_nameless(sandbox)
    quotas.require(vm.project, vm.created_by, {Dimension.VMS.value: 1}, exclude=vm.pk)
    end_lease_now(sandbox, "keep")
    VirtualMachine.objects.filter(pk=vm.pk).update(role=Role.MACHINE)
    vm.role = Role.MACHINE
    record(actor, "sandbox.keep", project=vm.project, kind="vm", target=vm.pk, name=vm.name)
    sandbox.delete()
    broadcast.vm_changed(vm)
    return vm


@retried
@transaction.atomic
def request_delete(actor: Actor, vm_id: UUID | str) -> Operation:
    """Begin the end of a sandbox, whatever it is doing. Asked again, the answer is the same operation."""
    sandbox = get_sandbox_for(actor.who, vm_id, Verb.CHANGE, lock=True)
    end_lease_now(sandbox, "delete")
    return begin_delete(actor, sandbox.vm)


def begin_delete(actor: Actor, vm: VirtualMachine) -> Operation:
    """Begin the deletion of a machine whose lock is held."""
    files = [volume.file_name for volume in vm.volumes.all()] + [vm.seed_name]
    macs = [nic.mac for nic in vm.nics.all()]
    return begin(actor, vm, OperationKind.DELETE, files=files, macs=macs)


def end_lease_now(sandbox: Sandbox, why: str) -> None:
    """Stop the clock for good and book back what is left; the caller is in a transaction. Again: nothing."""
    if sandbox.lease_status == LeaseStatus.RUNNING and sandbox.expires_at is not None:
        left = sandbox.left(clock.now())
        ledger.book_back(sandbox.vm, sandbox.expires_at - left, sandbox.expires_at, why)
        sandbox.remaining_seconds, sandbox.expires_at = 0, None
        sandbox.save(update_fields=["remaining_seconds", "expires_at"])


def _note(actor: Actor, sandbox: Sandbox, action: str, **data: object) -> None:
    vm = sandbox.vm
    record(actor, action, project=vm.project, kind="sandbox", target=vm.pk, name=vm.name, **data)
    broadcast.vm_changed(vm)
