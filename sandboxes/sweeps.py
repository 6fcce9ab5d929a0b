"""What is looked after now and then: clones that wait, builds that no longer fit, runs that wait; leases beside it.

All of it by the database's clock: that of the process that sweeps may be an hour off.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import BooleanField, Case, Count, Exists, F, OuterRef, Q, When
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from accounts import clock
from accounts.actor import Actor
from accounts.refusals import Refusal
from accounts.retrying import retried
from accounts.system import system_project, system_user
from vms import broadcast, placement
from vms.models import Node, Operation, VirtualMachine, lock_vm
from vms.rotation import FAILURES_IN_A_ROW
from vms.services.begin import begin
from vms.states import LIVE, DesiredState, ObservedState, OperationKind, OperationStatus, Role

from . import endings, pool, running
from .lease_sweeps import delete_after_grace, end_leases, pause_idle, pause_what_still_runs, pay_again, warn_of_ends
from .models import Run, Sandbox, Template, TemplateBuild
from .queries import fitting_builds
from .services.lease import begin_delete
from .services.new import NETWORK_OF, make_clone
from .services.templates import prepare_on, prepared_on
from .states import NOT_KEPT, BuildStatus, NetworkMode, RunStatus

log = structlog.get_logger(__name__)
AT_ONCE = 200
BUILDS_AT_ONCE = 2  # on a node, of those that nobody asked for
TRIES = 3  # to prepare what no clones wait of: a script that cannot succeed boots no guest every hour for ever
AGAIN_AFTER = timedelta(hours=1)
SPARES_AT_ONCE = 2  # in the making on a node: people's own work goes first
SPARES_GIVE_WAY = timedelta(seconds=30)  # to people's work; a pool that was short for longer gets one at a time
SPARE_TRIES = FAILURES_IN_A_ROW  # of a template: a node on which all starts fail leaves rotation by as many
SPARES_AGAIN_AFTER = timedelta(minutes=10)
MARGIN = 0.05  # of a node's memory, above which clones wait again: or the room of those taken away would be theirs
PEOPLES = (OperationKind.CLAIM, OperationKind.CLONE, OperationKind.RESET)  # somebody waits for these
RUN_WAITS = timedelta(minutes=30)
OLD_RUN_AFTER = timedelta(seconds=30)


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


def _spares() -> list[tuple[UUID, UUID | None, bool]]:
    """Return each with its build, and whether it waits or is still being made: one whose QEMU died does neither."""
    live = Operation.objects.filter(vm=OuterRef("vm"), status__in=LIVE)
    waits = Q(vm__observed_state=ObservedState.PAUSED, vm__desired_state=DesiredState.PAUSED) | Exists(live)
    rows = Sandbox.objects.filter(vm__role=Role.SPARE).exclude(vm__desired_state=DesiredState.DELETED)
    rows = rows.annotate(good=Case(When(waits, then=True), default=False, output_field=BooleanField()))
    return list(rows.order_by(F("named_at").desc(nulls_last=True)).values_list("vm", "build", "good"))


def _drain(wanted: dict[UUID, int]) -> int:
    kept: dict[UUID, int] = {}
    taken = 0
    for vm_id, build, good in _spares():
        if good and build is not None and kept.get(build, 0) < wanted.get(build, 0):
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
    short = wanted - rows.count()
    since = _short_since(build, short > 0)
    if since is None:
        return 0
    at_once = SPARES_AT_ONCE
    if Operation.objects.filter(node=build.node, kind__in=PEOPLES, status__in=LIVE).exists():
        at_once = 1 if since <= clock.now() - SPARES_GIVE_WAY else 0
    making = Operation.objects.filter(node=build.node, kind=OperationKind.SPARE, status__in=LIVE).count()
    number = max(0, min(short, at_once - making))
    if number == 0 or _fails(build) or pool.is_short_of_memory(build.node, settings.SANDBOX_POOL_MEMORY_FREE + MARGIN):
        return 0
    for _number in range(number):
        try:
            with transaction.atomic():  # without room there is no row of it either
                _make_spare(build)
        except placement.NoRoom as refusal:
            log.info("no_room_for_spares", node=build.node.name, why=str(refusal.detail))
            return _number
    return number


def _fails(build: TemplateBuild) -> bool:
    """Did its last clones not come to wait? Then other templates have their turn for a while."""
    failed = Operation.objects.filter(
        node=build.node, kind=OperationKind.SPARE, status=OperationStatus.FAILED, data__build=str(build.pk),
        created_at__gt=Now() - SPARES_AGAIN_AFTER,
    )  # fmt: skip
    return failed.count() >= SPARE_TRIES


def _short_since(build: TemplateBuild, short: bool) -> datetime | None:
    """Keep and return since when too few clones wait; None where enough do. The caller holds the template's lock."""
    row = TemplateBuild.objects.filter(pk=build.pk)
    since = row.values_list("short_since", flat=True).get()
    if short == (since is not None):
        return since
    since = clock.now() if short else None
    row.update(short_since=since)
    return since


def _make_spare(build: TemplateBuild) -> None:
    template, project = build.template, system_project()
    place = placement.choose(build.memory_mib, NETWORK_OF[NetworkMode(template.network)], among={build.node_id})
    sandbox = make_clone(
        build, place, role=Role.SPARE, network=template.network, project=project,
        user_id=system_user(project).pk, name=f"spare-{uuid4().hex[:12]}",
    )  # fmt: skip
    begin(Actor.system(), sandbox.vm, OperationKind.SPARE, build=str(build.pk))


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
            never = node.pk not in done and (template.pool_size > 0 or _was_asked_for(template, node))
            if gone_stale or never:
                begun += _prepare(template, node)
    return begun


def _was_asked_for(template: Template, node: Node) -> bool:
    """Did somebody have this prepared here, in vain, and not too often for another try that nobody asks for?"""
    failed = TemplateBuild.objects.filter(
        template=template, node=node, status=BuildStatus.FAILED, recipe=template.recipe
    )
    return 0 < failed.count() < TRIES


@retried
@transaction.atomic
def _prepare(template: Template, node: Node) -> bool:
    failed = TemplateBuild.objects.filter(
        template=template, node=node, status=BuildStatus.FAILED, recipe=template.recipe,
        created_at__gt=Now() - AGAIN_AFTER,
    )  # fmt: skip
    if failed.exists() or not template.image.active:
        return False
    making = Operation.objects.filter(node=node, kind=OperationKind.PREPARE, status__in=LIVE).count()
    if making >= BUILDS_AT_ONCE:  # a new image is many templates' at once, and each boots a guest
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
            error_detail=_("The sandbox was not ready in time."), **NOT_KEPT,
        )  # fmt: skip
        if ended:
            broadcast.vm_changed(run.vm)
    begun = 0
    waiting = VirtualMachine.objects.filter(runs__status=RunStatus.PENDING).annotate(n=Count("runs")).distinct()
    waiting = waiting.exclude(sandbox__build__isnull=False, sandbox__named_at=None)  # it has no identity of its own
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
    """Everything, in the order in which one thing makes room for another; what breaks keeps nothing else from it."""
    parts: tuple[Callable[[], object], ...] = (
        warn_of_ends, end_leases, pause_what_still_runs, pay_again, delete_after_grace, pause_idle, tend_builds,
        tend_pools, tend_runs,
    )  # fmt: skip
    broken: Exception | None = None
    for part in parts:
        try:
            part()
        except Exception as error:
            log.exception("sweep_broke", part=part.__name__)
            broken = error
    if broken is not None:
        raise broken
