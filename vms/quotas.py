"""Quotas: counted from the rows, under a lock, in the transaction that makes the rows. Nothing is stored.

A machine counts as allocated from its row's first to its last moment, a tombstone included: its disk is there.
It counts as running when it is desired running, or seen running, paused or crashed (a QEMU holds its memory). Sandboxes
are counted like machines, but as sandboxes and not as machines; the minutes of their leases come from the ledger
(vms/models/usage.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, DateField, Q, QuerySet, Sum
from django.db.models.functions import Now, TruncMonth
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.dimensions import ALLOCATED, RUNNING, Dimension
from accounts.models import Project, QuotaLimit, User
from accounts.refusals import QuotaExceeded

from .models import UsageEntry, VirtualMachine
from .states import HOLDS_MEMORY, DesiredState, Role

Amounts = dict[str, int]
COUNTS_AS_RUNNING = Q(desired_state=DesiredState.RUNNING) | Q(observed_state__in=HOLDS_MEMORY)
SHOWN_FREES = 3
_COLUMN = {
    Dimension.VCPUS: "vcpus",
    Dimension.MEMORY_MIB: "memory_mib",
    Dimension.DISK_GIB: "disk_gib",
    Dimension.RUNNING_VCPUS: "vcpus",
    Dimension.RUNNING_MEMORY_MIB: "memory_mib",
}
_UNIT = {
    Dimension.MEMORY_MIB: " MiB",
    Dimension.RUNNING_MEMORY_MIB: " MiB",
    Dimension.DISK_GIB: " GiB",
    Dimension.SANDBOX_MINUTES: " min",
}


def _aggregates() -> dict[str, Any]:
    return {
        Dimension.VMS: Count("id", filter=Q(role=Role.MACHINE)),
        Dimension.VCPUS: Sum("vcpus", default=0),
        Dimension.MEMORY_MIB: Sum("memory_mib", default=0),
        Dimension.DISK_GIB: Sum("disk_gib", default=0),
        Dimension.RUNNING_VMS: Count("id", filter=COUNTS_AS_RUNNING),
        Dimension.RUNNING_VCPUS: Sum("vcpus", filter=COUNTS_AS_RUNNING, default=0),
        Dimension.RUNNING_MEMORY_MIB: Sum("memory_mib", filter=COUNTS_AS_RUNNING, default=0),
        Dimension.SANDBOXES: Count("id", filter=Q(role=Role.SANDBOX)),
    }


def _minutes(rows: QuerySet[UsageEntry]) -> dict[UUID, int]:
    """Return the lease minutes of this month by project: what was used, and what live leases have reserved."""
    month = TruncMonth(Now(), output_field=DateField(), tzinfo=UTC)  # by the clock that the entries were booked by
    sums = rows.filter(month=month).order_by().values_list("project").annotate(total=Sum("seconds"))
    return {project: max(0, -(-total // 60)) for project, total in sums}


def usage(project: Project, member: User | None = None) -> Amounts:
    """Return what a project, or one member within it, uses now: {dimension: amount}. Two queries."""
    rows = VirtualMachine.objects.filter(project=project)
    entries = UsageEntry.objects.filter(project=project)
    if member is not None:
        rows, entries = rows.filter(created_by=member), entries.filter(member=member)
    counted = rows.aggregate(**{f"sum_{name}": count for name, count in _aggregates().items()})
    counted[f"sum_{Dimension.SANDBOX_MINUTES}"] = _minutes(entries).get(project.pk, 0)
    return {dimension: int(counted[f"sum_{dimension}"]) for dimension in Dimension.values}


def usage_by_project(projects: Iterable[Project]) -> dict[UUID, Amounts]:
    """Return the usage of many projects in two queries; a project without machines has zeros."""
    wanted = [project.id for project in projects]
    counted = (
        VirtualMachine.objects.filter(project__in=wanted)
        .order_by()
        .values("project")
        .annotate(**{f"sum_{name}": count for name, count in _aggregates().items()})
    )
    found: dict[UUID, dict[str, Any]] = {row["project"]: dict(row) for row in counted}
    for project_id, minutes in _minutes(UsageEntry.objects.filter(project__in=wanted)).items():
        found.setdefault(project_id, {})[f"sum_{Dimension.SANDBOX_MINUTES}"] = minutes
    return {
        project: {d: int(found.get(project, {}).get(f"sum_{d}", 0)) for d in Dimension.values} for project in wanted
    }


def limits(project: Project) -> dict[str, int | None]:
    """Return a project's limits: {dimension: n or None for unlimited}, the settings' default where none is set."""
    return limits_of([project])[project.id][0]


def limits_of(
    projects: Iterable[Project],
) -> dict[UUID, tuple[dict[str, int | None], dict[str, dict[str, int | None]]]]:
    """Return {project id: (limits, {username: its own limits})} for many projects in one query."""
    found: dict[UUID, tuple[dict[str, int | None], dict[str, dict[str, int | None]]]] = {
        project.id: ({d: settings.PERSONAL_QUOTA.get(d) for d in Dimension.values}, {}) for project in projects
    }
    for row in QuotaLimit.objects.filter(project__in=list(found)).select_related("member"):
        own, members = found[row.project_id]
        if row.member is None:
            own[row.dimension] = row.limit
        else:
            members.setdefault(row.member.username, {})[row.dimension] = row.limit
    return found


def needs(vcpus: int, memory_mib: int, disk_gib: int, *, running: bool, as_a: Dimension = Dimension.VMS) -> Amounts:
    """Return what one new machine (or sandbox) takes."""
    amounts = {
        as_a.value: 1,
        Dimension.VCPUS.value: vcpus,
        Dimension.MEMORY_MIB.value: memory_mib,
        Dimension.DISK_GIB.value: disk_gib,
    }
    return amounts | (needs_running(vcpus, memory_mib) if running else {})


def needs_running(vcpus: int, memory_mib: int) -> Amounts:
    """Return what starting one machine takes."""
    return {
        Dimension.RUNNING_VMS.value: 1,
        Dimension.RUNNING_VCPUS.value: vcpus,
        Dimension.RUNNING_MEMORY_MIB.value: memory_mib,
    }


@dataclass(frozen=True, slots=True)
class Shortage:
    """One dimension that does not suffice. `frees`: machines whose end would help, [{vm, name, amount}]."""

    scope: str
    scope_name: str
    dimension: str
    limit: int
    used: int
    requested: int
    frees: list[dict[str, Any]]

    @property
    def short(self) -> int:
        return self.used + self.requested - self.limit

    def as_json(self) -> dict[str, Any]:
        return {
            "scope": self.scope,
            "dimension": self.dimension,
            "limit": self.limit,
            "used": self.used,
            "requested": self.requested,
            "short": self.short,
            "frees": self.frees,
        }

    def sentence(self) -> str:
        """Say it as a person would: what may be used, what is, what is missing, and one way out."""
        dimension = Dimension(self.dimension)
        unit = _UNIT.get(dimension, "")
        text = ngettext(
            "%(what)s: %(who)s may use %(limit)s and uses %(used)s. This needs %(requested)s, so %(short)s is missing.",
            "%(what)s: %(who)s may use %(limit)s and uses %(used)s. This needs %(requested)s, so %(short)s are missing.",  # noqa: E501
            self.short,
        )
        text %= {
            "what": dimension.label,
            "who": self.scope_name,
            "limit": f"{self.limit}{unit}",
            "used": f"{self.used}{unit}",
            "requested": f"{self.requested}{unit}",
            "short": f"{self.short}{unit}",
        }
        enough = next((free for free in self.frees if free["amount"] >= self.short), None)
        if enough:
            way = (
                _("Stopping %(name)s would be enough.")
                if dimension in RUNNING
                else _("Deleting %(name)s would be enough.")
            )
            text += " " + way % {"name": enough["name"]}
        return text


def lock(project: Project) -> None:
    """Take the lock under which this project's usage is counted; SQLite's immediate mode holds it already.

    Not the key's: an operation written under a machine's lock alone refers to the project (see `lock_vm`).
    """
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def require(project: Project, member: User, amounts: Mapping[str, int], exclude: UUID | None = None) -> None:
    """Raise QuotaExceeded unless `amounts` fit. The caller is in a transaction and holds `lock(project)`.

    Positive growth alone is refused: a machine may always shrink, also while usage is above a lowered limit.
    """
    shortages = shortages_of(project, member, amounts, exclude)
    if shortages:
        raise QuotaExceeded(
            " ".join(shortage.sentence() for shortage in shortages), quota=[s.as_json() for s in shortages]
        )


def shortages_of(
    project: Project, member: User, amounts: Mapping[str, int], exclude: UUID | None = None
) -> list[Shortage]:
    """Return all dimensions, of the project and of the member in it, that `amounts` would not fit."""
    wanted = {dimension: amount for dimension, amount in amounts.items() if amount > 0}
    of_project, of_members = limits_of([project])[project.id]
    scopes: list[tuple[str, str, dict[str, int | None], User | None]] = [("project", project.name, of_project, None)]
    own = of_members.get(member.username)
    if own:
        scopes.append(("member", member.username, own, member))
    found = []
    for scope, name, allowed, who in scopes:
        used = usage(project, who)
        for dimension, amount in wanted.items():
            limit = allowed.get(dimension)
            if limit is not None and used[dimension] + amount > limit:
                short = used[dimension] + amount - limit
                frees = _frees(project, who, dimension, short, exclude)
                found.append(Shortage(scope, name, dimension, limit, used[dimension], amount, frees))
    return found


def _frees(
    project: Project, member: User | None, dimension: str, short: int, exclude: UUID | None
) -> list[dict[str, Any]]:
    """Return up to three machines whose stop (running dimensions) or deletion frees some: the best fit first."""
    rows: QuerySet[VirtualMachine] = VirtualMachine.objects.filter(project=project).exclude(
        desired_state=DesiredState.DELETED
    )
    if exclude:
        rows = rows.exclude(pk=exclude)
    if member is not None:
        rows = rows.filter(created_by=member)
    if dimension == Dimension.SANDBOX_MINUTES:
        return []  # what is used of a month comes back with the next one
    if dimension in (Dimension.VMS, Dimension.SANDBOXES):
        rows = rows.filter(role=Role.MACHINE if dimension == Dimension.VMS else Role.SANDBOX)
    if dimension in RUNNING:
        rows = rows.filter(COUNTS_AS_RUNNING)
    column = _COLUMN.get(Dimension(dimension))
    if column is None:
        return [{"vm": str(vm.id), "name": vm.name, "amount": 1} for vm in rows.order_by("created_at")[:SHOWN_FREES]]
    enough = list(rows.filter(**{f"{column}__gte": short}).order_by(column, "created_at")[:SHOWN_FREES])
    chosen = enough or list(rows.order_by(f"-{column}", "created_at")[:SHOWN_FREES])
    return [{"vm": str(vm.id), "name": vm.name, "amount": getattr(vm, column)} for vm in chosen]


__all__ = [
    "ALLOCATED",
    "RUNNING",
    "Shortage",
    "limits",
    "limits_of",
    "lock",
    "needs",
    "needs_running",
    "require",
    "shortages_of",
    "usage",
    "usage_by_project",
]
