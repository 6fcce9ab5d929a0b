"""Invariant I2 in the rows: what is counted is what is there, what is reserved is booked, limits stop growth.

Usage is a sum of rows, so it cannot differ from them; what can be wrong is what it is summed of. A limit may be lowered
under what is used (F19), so usage above a limit is a breach only where something came into being after the limit did.
Not judged: running dimensions (virsh starts machines past any limit), defaults of the settings (they have no date), and
which of a month's minutes were used when.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Count, F, Max, Q, Sum

from accounts import clock
from accounts.dimensions import ALLOCATED, Dimension
from accounts.models import AuditEntry, QuotaLimit
from sandboxes.models import Sandbox
from sandboxes.states import LeaseStatus
from vms import quotas
from vms.models import Operation, UsageEntry, VirtualMachine
from vms.states import LIVE, DesiredState, OperationKind, Role

A_TRANSACTION = timedelta(minutes=1)  # at most: two that were serialized may bear their dates the other way round
STANDING = (*ALLOCATED, Dimension.SANDBOXES)
_ROLES = {Dimension.VMS: (Role.MACHINE,), Dimension.SANDBOXES: (Role.SANDBOX,)}


def disks_add_up() -> Iterator[str]:
    """A machine's disk is the sum of its volumes; one with a live operation may be between two sizes."""
    busy = Operation.objects.filter(status__in=LIVE).values("vm")
    rows = VirtualMachine.objects.annotate(total=Sum("volumes__size_gib"), cards=Count("nics", distinct=True))
    for vm in rows.exclude(total=F("disk_gib")).exclude(pk__in=busy):
        yield f"machine {vm.pk} is counted with {vm.disk_gib} GiB and has volumes of {vm.total or 0} GiB"


def leases_are_booked() -> Iterator[str]:
    """The ledger holds what each running lease has left, and nobody got back more than was booked."""
    totals = UsageEntry.objects.order_by().values("vm_id").annotate(total=Sum("seconds"), entries=Count("id"))
    booked = {row["vm_id"]: (row["total"], row["entries"]) for row in totals}
    for vm_id, (total, entries) in booked.items():
        if total < -entries:  # each is rounded to a second
            yield f"machine {vm_id} got back {-total} s of lease more than it was booked with"
    now = clock.now()
    leased = Sandbox.objects.filter(vm__role=Role.SANDBOX, expires_at__gt=now)
    for sandbox in leased.exclude(vm__desired_state=DesiredState.DELETED):
        total, entries = booked.get(sandbox.vm_id, (0, 0))
        left = sandbox.left(now).total_seconds()
        if sandbox.lease_status == LeaseStatus.RUNNING and total + entries + 1 < left:
            yield f"sandbox {sandbox.vm_id} has {left:.0f} s of lease left and {total} s booked"


def limits_stop_growth() -> Iterator[str]:
    """Nobody who is above a limit has got anything more since it was set."""
    set_at: dict[str, datetime] = {}
    for entry in AuditEntry.objects.filter(action="quota.set").order_by("id"):
        scopes = {"": entry.data.get("limits", {}), **entry.data.get("member_limits", {})}
        for member, dimensions in scopes.items():
            set_at |= {f"{entry.target_id} {member} {dimension}": entry.at for dimension in dimensions}
    limits = QuotaLimit.objects.filter(dimension__in=STANDING, limit__isnull=False).select_related("project", "member")
    for row in limits:
        since = set_at.get(f"{row.project_id} {row.member.username if row.member else ''} {row.dimension}")
        if since is None or row.limit is None or not _grew(row, since + A_TRANSACTION):
            continue
        used = quotas.usage(row.project, row.member)[row.dimension]
        if used > row.limit:
            who = f"{row.member.username} in {row.project.name}" if row.member else row.project.name
            yield f"{who} uses {used} of {row.limit} {row.dimension}, and has grown since that limit was set"


def _grew(row: QuotaLimit, since: datetime) -> bool:
    """Was the newest of what counts here made, or handed out, later? A resize leaves no date in its row."""
    counted = VirtualMachine.objects.filter(project=row.project_id)
    if row.member is not None:
        counted = counted.filter(created_by=row.member)
    if row.dimension in _ROLES:
        counted = counted.filter(role__in=_ROLES[Dimension(row.dimension)])
    claims = Max("operations__created_at", filter=Q(operations__kind=OperationKind.CLAIM))
    dates = counted.aggregate(made=Max("created_at"), claimed=claims)
    return any(date is not None and date > since for date in dates.values())


def breaches() -> Iterator[str]:
    yield from disks_add_up()
    yield from leases_are_booked()
    yield from limits_stop_growth()


__all__ = ["breaches"]
