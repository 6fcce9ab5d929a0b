"""What becomes of leases: their owners are warned, they end, their grace ends, and nobody pays for what nobody uses.

All of it by the database's clock: that of the process that sweeps may be an hour off.
"""

from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import DurationField, Exists, ExpressionWrapper, F, IntegerField, OuterRef, Q, QuerySet
from django.db.models.functions import Cast, Now
from django.utils.translation import gettext as _
from django.utils.translation import override

from accounts import clock
from accounts.actor import Actor
from accounts.audit import record
from accounts.refusals import OperationInProgress, Refusal
from accounts.retrying import retried
from vms import broadcast
from vms.models import Operation, VirtualMachine, lock_vm
from vms.services.begin import begin
from vms.states import HOLDS_MEMORY, LIVE, DesiredState, ObservedState, OperationKind, Role

from . import running
from .models import Sandbox
from .services.lease import begin_delete, start_clock, stop_clock
from .states import RUN_LIVE

log = structlog.get_logger(__name__)
AT_ONCE = 200
AGAIN_AFTER = timedelta(minutes=10)  # that the pause at a lease's end has failed


def warn_of_ends() -> int:
    """Tell those whose lease ends soon, once: on their pages and by mail."""
    now = clock.now()
    return sum(
        _warn(pk, now) for pk in list(_to_warn(now).order_by("expires_at").values_list("pk", flat=True)[:AT_ONCE])
    )


def _to_warn(now: datetime) -> QuerySet[Sandbox]:
    shortly = Q(warn_at=None, expires_at__lte=now + settings.SANDBOX_WARN_BEFORE[0])  # of a version before ours
    rows = Sandbox.objects.filter(Q(warn_at__lte=now) | shortly, expires_at__gt=now, warned_at=None, ended_at=None)
    return rows.filter(vm__role=Role.SANDBOX).exclude(vm__desired_state=DesiredState.DELETED)


@retried
def _warn(pk: UUID, now: datetime) -> bool:
    with transaction.atomic():
        sandbox = _to_warn(now).select_related("vm", "vm__project", "vm__created_by").filter(pk=pk).first()
        if sandbox is None:
            return False
        if not Sandbox.objects.filter(pk=pk, warned_at=None, expires_at=sandbox.expires_at).update(warned_at=now):
            return False
        broadcast.vm_changed(sandbox.vm)
    _mail(sandbox)
    return True


def _mail(sandbox: Sandbox) -> None:
    """Tell its maker; whether mail works is not the lease's business."""
    who, vm = sandbox.vm.created_by, sandbox.vm
    if not who.email or sandbox.expires_at is None:
        return
    with override(settings.LANGUAGE_CODE):
        subject = _("%(name)s is paused soon") % {"name": vm.name}
        ends = _(
            "The lease of your sandbox %(name)s ends at %(time)s UTC. It is then paused to disk, and deleted %(hours)s "
            "hours later."
        ) % {
            "name": vm.name,
            "time": sandbox.expires_at.strftime("%Y-%m-%d %H:%M"),
            "hours": round(settings.SANDBOX_GRACE.total_seconds() / 3600),
        }
        ways = _("Extend it, or take it back later: %(url)s") % {"url": f"{settings.PORTAL_URL}/sandboxes/{vm.pk}/"}
    try:
        send_mail(subject, f"{ends}\n{ways}\n", None, [who.email])
    except OSError as error:
        log.warning("mail_not_sent", error=type(error).__name__)


def end_leases() -> int:
    """Pause to disk what has no lease any more; busy ones wait for the next round."""
    due = Sandbox.objects.filter(expires_at__lte=Now(), ended_at=None, vm__role=Role.SANDBOX)
    due = due.exclude(vm__desired_state=DesiredState.DELETED)
    return sum(_end_lease(pk, vm) for pk, vm in list(due.values_list("pk", "vm")[:AT_ONCE]))


@retried
@transaction.atomic
def _end_lease(pk: UUID, vm_id: UUID) -> bool:
    vm, now = lock_vm(vm_id), clock.now()
    sandbox = Sandbox.objects.filter(pk=pk, expires_at__lte=now, ended_at=None).first()
    if vm is None or sandbox is None or vm.desired_state == DesiredState.DELETED:
        return False
    if vm.observed_state in HOLDS_MEMORY:
        try:
            begin(Actor.system(), vm, _to_rest(vm))
        except OperationInProgress:
            return False
    elif Operation.objects.filter(vm=vm, status__in=LIVE).exists():
        return False
    running.lose(vm, "lease_ended", _("The lease of the sandbox ended while this ran."))
    sandbox.ended_at, sandbox.grace_until = now, now + settings.SANDBOX_GRACE
    sandbox.save(update_fields=["ended_at", "grace_until"])
    record(Actor.system(), "sandbox.end", project=vm.project, kind="sandbox", target=vm.pk, name=vm.name)
    broadcast.vm_changed(vm)
    return True


def _to_rest(vm: VirtualMachine) -> OperationKind:
    """What gives its memory back: a guest that crashed has nothing to go on with."""
    return OperationKind.FORCE_OFF if vm.observed_state == ObservedState.CRASHED else OperationKind.SUSPEND


def pause_what_still_runs() -> int:
    """Pause to disk again what should have been at the end of its lease, and was not: its disk was full, perhaps."""
    tried = Operation.objects.filter(vm=OuterRef("vm")).filter(
        Q(status__in=LIVE) | Q(created_at__gt=Now() - AGAIN_AFTER)
    )
    rows = Sandbox.objects.filter(~Exists(tried), ended_at__isnull=False, vm__role=Role.SANDBOX)
    rows = rows.filter(vm__observed_state__in=HOLDS_MEMORY).exclude(vm__desired_state=DesiredState.DELETED)
    return sum(_pause_again(pk, vm) for pk, vm in list(rows.values_list("pk", "vm")[:AT_ONCE]))


@retried
@transaction.atomic
def _pause_again(pk: UUID, vm_id: UUID) -> bool:
    vm = lock_vm(vm_id)
    if vm is None or not Sandbox.objects.filter(pk=pk, ended_at__isnull=False).exists():  # it was taken back
        return False
    try:
        begin(Actor.system(), vm, _to_rest(vm))
    except Refusal:
        return False
    return True


def pay_again() -> int:
    """Let clocks go on that stand still though their sandbox is on: it was seen only after it was given up, say."""
    live = Operation.objects.filter(vm=OuterRef("vm"), status__in=LIVE)
    rows = Sandbox.objects.filter(
        ~Exists(live), remaining_seconds__isnull=False, expires_at=None, ended_at=None, vm__role=Role.SANDBOX,
        vm__observed_state__in=HOLDS_MEMORY,
    ).exclude(vm__desired_state=DesiredState.DELETED)  # fmt: skip
    return sum(_pay_again(pk, vm) for pk, vm in list(rows.values_list("pk", "vm")[:AT_ONCE]))


@retried
@transaction.atomic
def _pay_again(pk: UUID, vm_id: UUID) -> bool:
    vm = lock_vm(vm_id)
    sandbox = Sandbox.objects.select_related("vm").filter(pk=pk).first()
    if vm is None or sandbox is None or vm.observed_state not in HOLDS_MEMORY:
        return False
    if vm.desired_state == DesiredState.DELETED or Operation.objects.filter(vm=vm, status__in=LIVE).exists():
        return False
    start_clock(sandbox, "runs_again")
    return True


def delete_after_grace() -> int:
    """Delete what nobody took back."""
    due = Sandbox.objects.filter(grace_until__lte=Now(), ended_at__isnull=False, vm__role=Role.SANDBOX)
    due = due.exclude(vm__desired_state=DesiredState.DELETED)
    return sum(_delete(vm_id) for vm_id in list(due.values_list("vm", flat=True)[:AT_ONCE]))


@retried
@transaction.atomic
def _delete(vm_id: UUID) -> bool:
    vm = lock_vm(vm_id)
    still = Sandbox.objects.filter(vm=vm_id, grace_until__lte=Now(), ended_at__isnull=False).exists()
    if vm is None or not still or vm.desired_state == DesiredState.DELETED:
        return False
    begin_delete(Actor.system(), vm)
    return True


def _idle(now: datetime) -> QuerySet[Sandbox]:
    """Return what nobody used for as long as its template allows, what was used longest ago first."""
    minutes = Cast("template__idle_minutes", IntegerField())  # Django multiplies no positive integers on SQLite
    allowed = ExpressionWrapper(minutes * timedelta(minutes=1), output_field=DurationField())
    return _pausable().annotate(allowed=allowed).filter(used_at__lte=now - F("allowed")).order_by("used_at", "pk")


def _pausable() -> QuerySet[Sandbox]:
    return Sandbox.objects.filter(
        template__idle_minutes__isnull=False, expires_at__isnull=False, ended_at=None, vm__role=Role.SANDBOX,
        vm__observed_state=ObservedState.RUNNING,
    )  # fmt: skip


def pause_idle() -> int:
    """Note who is used, and pause to disk what nobody used for as long as its template allows."""
    now = clock.now()
    used = Q(vm__runs__status__in=RUN_LIVE) | Q(vm__console_sessions__isnull=False)
    Sandbox.objects.filter(pk__in=_pausable().filter(used).values("pk")).update(used_at=now)
    return sum(_pause_idle(pk, vm, now) for pk, vm in list(_idle(now).values_list("pk", "vm")[:AT_ONCE]))


@retried
@transaction.atomic
def _pause_idle(pk: UUID, vm_id: UUID, now: datetime) -> bool:
    vm = lock_vm(vm_id)
    sandbox = _idle(now).select_related("vm").filter(pk=pk).first()
    if vm is None or sandbox is None or running.in_use(sandbox):
        return False
    try:
        begin(Actor.system(), vm, OperationKind.SUSPEND)
    except Refusal:
        return False
    stop_clock(sandbox, "idle")
    record(Actor.system(), "sandbox.idle", project=vm.project, kind="sandbox", target=vm.pk, name=vm.name)
    return True
