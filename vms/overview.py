"""What staff look over: operations, nodes, room, and what is wrong. Few queries, whatever the size of the fleet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Avg, Count, F, Min, Prefetch, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, Greatest, Now
from django.utils import timezone

from accounts.dimensions import ALLOCATED
from accounts.keyset import Page, page
from accounts.models import Project, QuotaLimit, User
from accounts.people import words_of

from .models import ConsoleSession, Node, Operation, StoragePool, VirtualMachine
from .quotas import COUNTS_AS_RUNNING
from .states import LIVE, OperationKind, OperationStatus, Role, is_away

OPERATIONS_ON_A_PAGE = 50
UNCLAIMED_AFTER = timedelta(seconds=30)  # a doorbell is rung again every few seconds: longer means that nobody works
POOL_NEARLY_FULL = 0.85
SHOWN_FAILED = 10
SEEN_FAILED = 100
LATELY = timedelta(hours=24)
# what a worker should take now; what failed and is tried again later, and what a newer version has to take, is parked
WAITING = Q(status=OperationStatus.PENDING) & (Q(not_before=None) | Q(not_before__lte=Now()))
PARKED = Q(status=OperationStatus.PENDING, not_before__gt=Now())
DUE_SINCE = Greatest("created_at", Coalesce("not_before", "created_at"))
OPERATION_FILTERS: dict[str, Q] = {
    "live": Q(status__in=LIVE),
    "failed": Q(status=OperationStatus.FAILED),
    "cancelled": Q(status=OperationStatus.CANCELLED),
    "done": Q(status=OperationStatus.SUCCEEDED),
}


def list_operations(*, chosen: str = "", search: str = "", cursor: str = "") -> Page[Operation]:
    """Return everybody's operations, newest first. The search looks at machine, project, person, kind, node and id."""
    rows: QuerySet[Operation] = Operation.objects.select_related("node", "project", "actor")
    if chosen in OPERATION_FILTERS:
        rows = rows.filter(OPERATION_FILTERS[chosen])
    for word in words_of(search):
        rows = rows.filter(_about(word))
    return page(rows, ["-created_at", "-id"], OPERATIONS_ON_A_PAGE, cursor)


def _about(word: str) -> Q:
    about = (
        Q(vm_name__icontains=word)
        | Q(project__name__iexact=word)
        | Q(actor__username__iexact=word)
        | Q(kind__iexact=word.replace("-", "_"))
        | Q(node__name__iexact=word)
        | Q(error_code__iexact=word)
    )
    try:
        found = UUID(word)
    except ValueError:
        return about
    return about | Q(pk=found) | Q(vm=found)


@dataclass(frozen=True, slots=True)
class Queue:
    """What a node has to do: operations that are due since, that are under way, and that wait for another try."""

    waiting: int = 0
    running: int = 0
    parked: int = 0
    waiting_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node with what is on it."""

    node: Node
    pools: list[StoragePool]
    machines: int
    running: int
    sandboxes: int
    spares: int
    builders: int
    people: int
    vcpus: int
    vcpus_running: int
    memory_mib: int
    memory_mib_running: int
    queue: Queue
    away: bool

    @property
    def ok(self) -> bool:
        """Does it answer, and its hypervisor too?"""
        return not self.away and self.node.hypervisor_ok


def nodes(now: datetime | None = None) -> list[NodeView]:
    """Return every node with its machines and operations counted, and its pools. A constant number of queries.

    `promised_gib` of a pool is what its disks may grow to.
    """
    now = now or timezone.now()
    pools = StoragePool.objects.annotate(
        promised_gib=Sum("volumes__size_gib", default=0), volume_count=Count("volumes")
    ).order_by("name")
    rows = list(Node.objects.prefetch_related(Prefetch("pools", pools, "shown_pools")))
    queues = _queues()
    counted: dict[UUID, dict[str, Any]] = {
        row["node"]: dict(row)
        for row in VirtualMachine.objects.order_by()
        .values("node")
        .annotate(
            machines=Count("id", filter=Q(role=Role.MACHINE)),
            running=Count("id", filter=COUNTS_AS_RUNNING & Q(role=Role.MACHINE)),
            sandboxes=Count("id", filter=Q(role=Role.SANDBOX)),
            spares=Count("id", filter=Q(role=Role.SPARE)),
            builders=Count("id", filter=Q(role=Role.BUILDER)),
            people=Count("created_by", distinct=True, filter=Q(role__in=(Role.MACHINE, Role.SANDBOX))),
            all_vcpus=Sum("vcpus"),
            on_vcpus=Sum("vcpus", filter=COUNTS_AS_RUNNING, default=0),
            all_memory=Sum("memory_mib"),
            on_memory=Sum("memory_mib", filter=COUNTS_AS_RUNNING, default=0),
        )
    }
    return [_node_view(node, counted.get(node.pk, {}), queues.get(node.pk, Queue()), now) for node in rows]


def _queues() -> dict[UUID, Queue]:
    rows = (
        Operation.objects.filter(status__in=LIVE)
        .order_by()
        .values("node")
        .annotate(
            waiting=Count("id", filter=WAITING),
            running=Count("id", filter=Q(status=OperationStatus.RUNNING)),
            parked=Count("id", filter=PARKED),
            since=Min(DUE_SINCE, filter=WAITING),
        )
    )
    return {row["node"]: Queue(row["waiting"], row["running"], row["parked"], row["since"]) for row in rows}


def _node_view(node: Node, row: Mapping[str, int], queue: Queue, now: datetime) -> NodeView:
    return NodeView(
        node=node,
        pools=node.shown_pools,  # type: ignore[attr-defined]
        machines=row.get("machines", 0),
        running=row.get("running", 0),
        sandboxes=row.get("sandboxes", 0),
        spares=row.get("spares", 0),
        builders=row.get("builders", 0),
        people=row.get("people", 0),
        vcpus=row.get("all_vcpus", 0),
        vcpus_running=row.get("on_vcpus", 0),
        memory_mib=row.get("all_memory", 0),
        memory_mib_running=row.get("on_memory", 0),
        queue=queue,
        away=is_away(node.synced_at, now, settings.NODE_AWAY_AFTER),
    )


def promised() -> dict[str, int | None]:
    """Return how much all projects together may allocate of each dimension; None where one of them is unlimited."""
    projects = Project.objects.filter(system=False).count()
    rows = {
        row["dimension"]: row
        for row in QuotaLimit.objects.filter(member=None, dimension__in=[d.value for d in ALLOCATED])
        .order_by()
        .values("dimension")
        .annotate(together=Sum("limit", default=0), rows=Count("id"), unlimited=Count("id", filter=Q(limit=None)))
    }
    found: dict[str, int | None] = {}
    for dimension in ALLOCATED:
        row = rows.get(dimension.value, {"together": 0, "rows": 0, "unlimited": 0})
        default = settings.PERSONAL_QUOTA.get(dimension.value)
        missing = projects - row["rows"]
        if row["unlimited"] or (missing and default is None):
            found[dimension.value] = None
        else:
            found[dimension.value] = row["together"] + missing * (default or 0)
    return found


def unclaimed(now: datetime) -> list[Operation]:
    """Return the oldest operations that nobody works on although it is their time."""
    waiting = Q(status=OperationStatus.PENDING, created_at__lt=now - UNCLAIMED_AFTER) & (
        Q(not_before=None) | Q(not_before__lt=now - UNCLAIMED_AFTER)
    )
    dead = Q(status=OperationStatus.RUNNING, lease_expires_at__lt=now - UNCLAIMED_AFTER)
    rows = Operation.objects.filter(waiting | dead).select_related("node", "project", "actor")
    return list(rows.order_by("created_at")[:SHOWN_FAILED])


def with_foreign_devices() -> list[VirtualMachine]:
    """Return machines whose domain has devices that we did not give it."""
    rows = VirtualMachine.objects.exclude(foreign_devices="").select_related("node")
    return list(rows.order_by("name", "id")[:SHOWN_FAILED])


def failed_lately(now: datetime) -> list[Operation]:
    """Return the last failure within a day of each machine that is still there and where nothing succeeded since."""
    rows = Operation.objects.filter(status=OperationStatus.FAILED, finished_at__gt=now - LATELY)
    newest: dict[UUID, Operation] = {}
    for operation in rows.select_related("node", "project", "actor").order_by("-finished_at")[:SEEN_FAILED]:
        if operation.vm_id:
            newest.setdefault(operation.vm_id, operation)
    there = set(VirtualMachine.objects.filter(pk__in=list(newest)).values_list("pk", flat=True))
    mended = {
        vm
        for vm, at in Operation.objects.filter(vm__in=there, status=OperationStatus.SUCCEEDED).values_list(
            "vm", "finished_at"
        )
        if vm and at and at > (newest[vm].finished_at or now)
    }
    return [newest[vm] for vm in newest if vm in there - mended][:SHOWN_FAILED]


@dataclass(frozen=True, slots=True)
class Today:
    """The last 24 hours in four figures."""

    made: int
    succeeded_percent: float | None
    create_seconds: float | None
    consoles: int
    people: int


def today(now: datetime) -> Today:
    """Return what happened within a day: machines made, how operations ended, how long a create took."""
    ended = Operation.objects.filter(finished_at__gt=now - LATELY)
    counts = ended.aggregate(
        made=Count("id", filter=Q(kind=OperationKind.CREATE, status=OperationStatus.SUCCEEDED)),
        good=Count("id", filter=Q(status=OperationStatus.SUCCEEDED)),
        bad=Count("id", filter=Q(status=OperationStatus.FAILED)),
        took=Avg(
            F("finished_at") - F("created_at"),
            filter=Q(kind=OperationKind.CREATE, status=OperationStatus.SUCCEEDED),
        ),
    )
    finished = counts["good"] + counts["bad"]
    return Today(
        made=counts["made"],
        succeeded_percent=100 * counts["good"] / finished if finished else None,
        create_seconds=counts["took"].total_seconds() if counts["took"] else None,
        consoles=ConsoleSession.objects.count(),
        people=User.objects.filter(is_active=True).count(),
    )


def machines_by_person(people: Iterable[User]) -> dict[UUID, tuple[int, int]]:
    """Return (machines, of them running) that each of these people made; one query."""
    rows = (
        VirtualMachine.objects.filter(created_by__in=list(people))
        .order_by()
        .values_list("created_by")
        .annotate(n=Count("id"), on=Count("id", filter=COUNTS_AS_RUNNING))
    )
    return {person: (n, on) for person, n, on in rows}
