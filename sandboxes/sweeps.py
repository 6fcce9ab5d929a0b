"""What is looked after now and then: leases that end, clones that wait, builds that no longer fit, runs that wait.

All of it by the database's clock: that of the process that sweeps may be an hour off.
"""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Count, Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import override

from accounts import clock
from accounts.actor import Actor
from accounts.audit import record
from accounts.refusals import OperationInProgress, Refusal
from accounts.retrying import retried
from accounts.system import system_project, system_user
from vms import broadcast, placement
from vms.models import Node, Operation, VirtualMachine, lock_vm
from vms.services.begin import begin
from vms.states import LIVE, DesiredState, ObservedState, OperationKind, OperationStatus, Role

from . import endings, pool, running
from .models import Run, Sandbox, Template, TemplateBuild
from .queries import fitting_builds
from .services.lease import begin_delete, stop_clock
from .services.new import NETWORK_OF, make_clone
from .services.templates import prepare_on, prepared_on
from .states import RUN_LIVE, BuildStatus, NetworkMode, RunStatus

log = structlog.get_logger(__name__)
AT_ONCE = 200
SPARES_AT_ONCE = 2  # in the making on a node: people's own work goes first
WARN_SHARE = 0.1  # of a lease that is shorter than ten times the usual warning
PEOPLES = (OperationKind.CLAIM, OperationKind.CLONE, OperationKind.RESET)  # somebody waits for these
RUN_WAITS = timedelta(minutes=30)
OLD_RUN_AFTER = timedelta(seconds=30)


# --- leases -------------------------------------------------------------------------------------------------
def warn_of_ends() -> int:
    """Tell those whose lease ends soon, once: on their pages and by mail."""
    now = clock.now()
    soon = Sandbox.objects.filter(
        expires_at__lte=now + settings.SANDBOX_WARN_BEFORE, expires_at__gt=now, warned_at=None, ended_at=None,
        vm__role=Role.SANDBOX,
    ).exclude(vm__desired_state=DesiredState.DELETED)  # fmt: skip
    return sum(_warn(sandbox.pk, now) for sandbox in soon.only("pk", "lease_minutes", "expires_at")[:AT_ONCE])


@retried
def _warn(pk: UUID, now: datetime) -> bool:
    with transaction.atomic():
        sandbox = Sandbox.objects.select_related("vm", "vm__project", "vm__created_by").get(pk=pk)
        early = min(settings.SANDBOX_WARN_BEFORE, timedelta(minutes=sandbox.lease_minutes) * WARN_SHARE)
        if sandbox.expires_at is None or sandbox.expires_at > now + early:
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
    if vm.observed_state in (ObservedState.RUNNING, ObservedState.PAUSED):
        try:
            begin(Actor.system(), vm, OperationKind.SUSPEND)
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


def pause_idle() -> int:
    """Note who is used, and pause to disk what nobody used for as long as its template allows."""
    rows = Sandbox.objects.filter(
        template__idle_minutes__isnull=False, expires_at__isnull=False, ended_at=None, vm__role=Role.SANDBOX,
        vm__observed_state=ObservedState.RUNNING,
    )  # fmt: skip
    used = Q(vm__runs__status__in=RUN_LIVE) | Q(vm__console_sessions__isnull=False)
    now = clock.now()
    in_use = list(rows.filter(used).values_list("pk", flat=True).distinct())
    Sandbox.objects.filter(pk__in=in_use).update(used_at=now)
    paused = 0
    for sandbox in rows.exclude(pk__in=in_use).select_related("template")[:AT_ONCE]:
        if sandbox.used_at <= now - timedelta(minutes=sandbox.template.idle_minutes or 0):
            paused += _pause_idle(sandbox.pk, sandbox.vm_id)
    return paused


@retried
@transaction.atomic
def _pause_idle(pk: UUID, vm_id: UUID) -> bool:
    vm = lock_vm(vm_id)
    sandbox = Sandbox.objects.select_related("vm").filter(pk=pk, ended_at=None, expires_at__isnull=False).first()
    if vm is None or sandbox is None or running.in_use(sandbox):
        return False
    try:
        begin(Actor.system(), vm, OperationKind.SUSPEND)
    except Refusal:
        return False
    stop_clock(sandbox, "idle")
    record(Actor.system(), "sandbox.idle", project=vm.project, kind="sandbox", target=vm.pk, name=vm.name)
    return True


# --- the warm pool ------------------------------------------------------------------------------------------
def tend_pools() -> tuple[int, int]:
    """Make clones where too few wait, take away where too many do or memory is short; returns (made, taken away)."""
    made = taken = 0
    templates = list(Template.objects.filter(active=True).select_related("image", "flavor", "project"))
    wanted: dict[UUID, int] = {}
    builds: dict[UUID, TemplateBuild] = {}
    for template in templates:
        for build in fitting_builds(template):
            short = pool.is_short_of_memory(build.node, settings.SANDBOX_POOL_MEMORY_FREE)
            wanted[build.pk] = 0 if short else template.pool_size
            build.template, builds[build.pk] = template, build
    taken = _drain(wanted)
    for pk, build in builds.items():
        made += _refill(build, wanted[pk])
    return made, taken


def _spares() -> list[tuple[UUID, UUID | None]]:
    rows = Sandbox.objects.filter(vm__role=Role.SPARE).exclude(vm__desired_state=DesiredState.DELETED)
    return list(rows.order_by("-named_at").values_list("vm", "build"))


def _drain(wanted: dict[UUID, int]) -> int:
    kept: dict[UUID, int] = {}
    taken = 0
    for vm_id, build in _spares():
        if build is not None and kept.get(build, 0) < wanted.get(build, 0):
            kept[build] = kept.get(build, 0) + 1
        else:
            taken += _take_away(vm_id)
    return taken


@retried
@transaction.atomic
def _take_away(vm_id: UUID) -> bool:
    """Delete a clone that waits, unless it was handed out in this very moment: its lock decides."""
    vm = lock_vm(vm_id)
    if vm is None or vm.role != Role.SPARE or vm.desired_state == DesiredState.DELETED:
        return False
    begin_delete(Actor.system(), vm)
    return True


@retried
@transaction.atomic
def _refill(build: TemplateBuild, wanted: int) -> int:
    Template.objects.select_for_update(no_key=True).get(pk=build.template_id)  # one sweep at a time fills a pool
    rows = Sandbox.objects.filter(build=build, vm__role=Role.SPARE).exclude(vm__desired_state=DesiredState.DELETED)
    there = rows.count()
    people = Operation.objects.filter(node=build.node, kind__in=PEOPLES, status__in=LIVE)
    if people.exists():
        return 0
    making = Operation.objects.filter(node=build.node, kind=OperationKind.SPARE, status__in=LIVE).count()
    number = max(0, min(wanted - there, SPARES_AT_ONCE - making))
    for _number in range(number):
        try:
            _make_spare(build)
        except placement.NoRoom as refusal:
            log.info("no_room_for_spares", node=build.node.name, why=str(refusal.detail))
            return _number
    return number


def _make_spare(build: TemplateBuild) -> None:
    template, project = build.template, system_project()
    place = placement.choose(build.memory_mib, NETWORK_OF[NetworkMode(template.network)], among={build.node_id})
    sandbox = make_clone(
        build, place, role=Role.SPARE, network=template.network, project=project,
        user_id=system_user(project).pk, name=f"spare-{uuid4().hex[:12]}",
    )  # fmt: skip
    begin(Actor.system(), sandbox.vm, OperationKind.SPARE)


# --- builds -------------------------------------------------------------------------------------------------
def tend_builds() -> int:
    """End builds that nobody works on, retire those that fit no more, prepare anew what is wanted; returns how many."""
    for build in TemplateBuild.objects.filter(status=BuildStatus.BUILDING).defer("screenshot"):
        operation = Operation.objects.filter(pk=build.operation_id or build.pk).first()
        if operation is None or operation.status not in LIVE:
            status = operation.status if operation else OperationStatus.FAILED
            endings.end_build(build.pk, operation, status, operation.error_code if operation else "")
    begun = 0
    nodes = list(placement.nodes_ok())
    for template in Template.objects.filter(active=True).select_related("image", "flavor", "project"):
        had = set(
            TemplateBuild.objects.filter(template=template, status=BuildStatus.READY).values_list("node_id", flat=True)
        )
        fits = {build.node_id for build in fitting_builds(template)}
        done = prepared_on(template)
        for node in nodes:
            gone_stale = node.pk in had - fits
            never = template.pool_size > 0 and node.pk not in done
            if gone_stale or never:
                begun += _prepare(template, node)
    return begun


@retried
@transaction.atomic
def _prepare(template: Template, node: Node) -> bool:
    failed = TemplateBuild.objects.filter(
        template=template, node=node, status=BuildStatus.FAILED, recipe=template.recipe,
        created_at__gt=Now() - timedelta(hours=1),
    )  # fmt: skip
    if failed.exists() or not template.image.active:
        return False
    try:
        prepare_on(Actor.system(), template, node)
    except Refusal as refusal:
        log.info("template_not_prepared", template=template.name, node=node.name, why=str(refusal.detail))
        return False
    return True


# --- runs ---------------------------------------------------------------------------------------------------
def tend_runs() -> int:
    """Begin runs whose bell was not heard, and end those that waited too long or whose domain has gone."""
    late = Run.objects.filter(status=RunStatus.PENDING, created_at__lt=Now() - RUN_WAITS)
    for run in late.select_related("vm")[:AT_ONCE]:
        ended = Run.objects.filter(pk=run.pk, status=RunStatus.PENDING).update(
            status=RunStatus.FAILED, finished_at=Now(), error_code="not_started",
            error_detail=_("The sandbox was not ready in time."),
        )  # fmt: skip
        if ended:
            broadcast.vm_changed(run.vm)
    begun = 0
    waiting = VirtualMachine.objects.filter(runs__status=RunStatus.PENDING).annotate(n=Count("runs")).distinct()
    for vm in waiting.select_related("node")[:AT_ONCE]:
        if running.may_begin(vm):
            begun += running.start_waiting(vm)
    old = Run.objects.filter(status=RunStatus.RUNNING, started_at__lt=Now() - OLD_RUN_AFTER)
    for run in old.select_related("vm"):
        if run.domain_uuid != run.vm.domain_uuid or run.vm.observed_state in (
            ObservedState.STOPPED,
            ObservedState.CRASHED,
            ObservedState.ABSENT,
        ):
            running.lose(run.vm, "guest_stopped", _("The sandbox stopped while this ran."))
            broadcast.vm_changed(run.vm)
    return begun


def sweep() -> None:
    """Everything, in the order in which one thing makes room for another."""
    warn_of_ends()
    end_leases()
    delete_after_grace()
    pause_idle()
    tend_builds()
    tend_pools()
    tend_runs()
