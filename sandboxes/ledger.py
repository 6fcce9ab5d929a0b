"""Lease time in the ledger: booked when it is promised, booked back when it is not used, month by month (UTC)."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from vms.models import UsageEntry, VirtualMachine


def book(vm: VirtualMachine, begin: datetime, end: datetime, why: str, sign: int = 1) -> None:
    """Book the time between two moments to whoever made the sandbox; the caller is in a transaction."""
    UsageEntry.objects.bulk_create(
        UsageEntry(
            project_id=vm.project_id, member_id=vm.created_by_id, vm_id=vm.pk, vm_name=vm.name, month=month,
            seconds=sign * seconds, why=why,
        )
        for month, seconds in by_month(begin, end)
    )  # fmt: skip


def book_back(vm: VirtualMachine, begin: datetime, end: datetime, why: str) -> None:
    """Book back time that was promised and will not be used."""
    book(vm, begin, end, why, sign=-1)


def by_month(begin: datetime, end: datetime) -> Iterator[tuple[date, int]]:
    """Yield (first day of a month, seconds in it) for the time between two moments; nothing where it is none."""
    begin, end = begin.astimezone(UTC), end.astimezone(UTC)
    while begin < end:
        first = begin.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        following = (first + timedelta(days=32)).replace(day=1)
        until = min(end, following)
        seconds = round((until - begin).total_seconds())
        if seconds:
            yield first.date(), seconds
        begin = until


def minutes_now(begin: datetime, end: datetime) -> int:
    """Return how many of these minutes lie in the month of `begin`: what its quota has to have left."""
    return -(-next((seconds for _month, seconds in by_month(begin, end)), 0) // 60)


__all__ = ["book", "book_back", "by_month", "minutes_now"]
