"""Reading on somebody's behalf: the one door to a machine, and lists whose queries do not grow with them."""

import base64
import binascii
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import access
from accounts.access import Verb
from accounts.models import Membership, User
from accounts.refusals import BadInput, NotVisible

from .models import Flavor, Image, Nic, Operation, VirtualMachine
from .states import (
    ATTENTION,
    ATTENTION_IN_PROGRESS,
    ERROR_REASONS,
    LIVE,
    MAKING,
    DesiredState,
    Role,
    Status,
)
from .wellformed import Errors

PAGE_LIMIT = 100

# the filters of the list, as ranges of the stored rank: [from, to)
RANK_FILTERS: dict[str, tuple[int, int]] = {
    "attention": (0, ATTENTION[Status.UNKNOWN] + 1),
    "progress": (ATTENTION[Status.CREATING], ATTENTION_IN_PROGRESS + 1),
    "running": (ATTENTION[Status.RUNNING], ATTENTION[Status.RUNNING] + 1),
    "off": (ATTENTION[Status.PAUSED], 1000),
}


def with_details(rows: QuerySet[VirtualMachine]) -> QuerySet[VirtualMachine]:
    """Add what a row or page shows: a constant number of queries for any number of machines."""
    return rows.select_related("node", "image", "flavor", "project", "created_by", "sample").prefetch_related(
        Prefetch("operations", Operation.objects.filter(status__in=LIVE).order_by("created_at"), "live_operations"),
        Prefetch("nics", Nic.objects.order_by("address")),
    )


def visible_vms(user: User, everything: bool = False) -> QuerySet[VirtualMachine]:
    """Return the machines of the user's projects; `everything` is the desk's view and needs staff."""
    if not user.is_active:
        return VirtualMachine.objects.none()
    if everything and user.is_staff:
        return VirtualMachine.objects.all()
    return VirtualMachine.objects.filter(project__in=project_ids_of(user))


def project_ids_of(user: User) -> list[UUID]:
    return list(Membership.objects.filter(user=user).values_list("project_id", flat=True))


def get_vm_for(user: User, vm_id: UUID | str, verb: Verb = Verb.SEE, *, lock: bool = False) -> VirtualMachine:
    """Return the machine if the user may see it, checking `verb`: NotVisible (404), Forbidden (403).

    `lock` takes the row's lock, in a transaction of the caller's.
    """
    found = access.as_uuid(vm_id)
    rows = with_details(VirtualMachine.objects.all())
    vm = rows.filter(pk=found).first() if found else None
    if vm is None:
        raise NotVisible
    access.check(user, vm.project_id, verb)
    if lock:
        VirtualMachine.objects.select_for_update(no_key=True).get(pk=vm.pk)
        vm = rows.get(pk=vm.pk)  # read again: it may have changed before the lock was ours
    return vm


def get_operation_for(user: User, operation_id: UUID | str, verb: Verb = Verb.SEE) -> Operation:
    """Return the operation if the user may see its project."""
    found = access.as_uuid(operation_id)
    rows = Operation.objects.select_related("node", "project", "vm", "actor")
    operation = rows.filter(pk=found).first() if found else None
    if operation is None:
        raise NotVisible
    access.check(user, operation.project_id, verb)
    return operation


def get_image(ref: str | UUID) -> Image:
    """Return the offered image of this id or name; BadInput."""
    found = access.as_uuid(ref)
    image = Image.objects.filter(Q(pk=found) if found else Q(name=str(ref)), active=True).first()
    if image is None:
        raise BadInput({"image": [_("There is no such image.")]})
    return image


def get_flavor(ref: str | UUID) -> Flavor:
    """Return the offered flavor of this id or name; BadInput."""
    found = access.as_uuid(ref)
    flavor = Flavor.objects.filter(Q(pk=found) if found else Q(name=str(ref)), active=True).first()
    if flavor is None:
        raise BadInput({"flavor": [_("There is no such size.")]})
    return flavor


def find_image_and_flavor(image: str | UUID, flavor: str | UUID, errors: Errors) -> tuple[Image | None, Flavor | None]:
    """Return both, None for one that is not offered, with a sentence in `errors`: a person hears of both at once."""
    found_image, found_flavor = None, None
    try:
        found_image = get_image(image)
    except BadInput as refusal:
        errors |= refusal.fields
    try:
        found_flavor = get_flavor(flavor)
    except BadInput as refusal:
        errors |= refusal.fields
    return found_image, found_flavor


@dataclass(frozen=True, slots=True)
class Page:
    """A page of machines. `next` and `previous` are opaque cursors, None at the ends."""

    items: list[VirtualMachine]
    next: str | None
    previous: str | None


def list_vms_for(
    user: User,
    *,
    limit: int = 50,
    cursor: str = "",
    search: str = "",
    rank_filter: str = "",
    project: UUID | None = None,
    statuses: Collection[str] = (),
    everything: bool = False,
) -> Page:
    """Return a page sorted by what needs attention, then by name. BadInput for a cursor that is not ours.

    Pages are found by key, not by counting: page 200 costs what page 1 does.
    """
    rows = filtered_vms(user, search=search, rank_filter=rank_filter, project=project, everything=everything)
    if statuses:
        now = timezone.now()
        rows = rows.filter(reduce(or_, (has_status(status, now) for status in statuses)))
    limit = max(1, min(limit, PAGE_LIMIT))
    rank, name, pk, backwards = _read_cursor(cursor)
    order = ["attention_rank", "name", "id"]
    if cursor:
        op, tie = ("lt", "lt") if backwards else ("gt", "gt")
        after = Q(**{f"attention_rank__{op}": rank}) | Q(attention_rank=rank) & (
            Q(**{f"name__{tie}": name}) | Q(name=name, **{f"id__{tie}": pk})
        )
        # the redundant bound lets the index start where the page does
        bound = Q(attention_rank__lte=rank) if backwards else Q(attention_rank__gte=rank)
        rows = rows.filter(bound & after)
    rows = rows.order_by(*([f"-{key}" for key in order] if backwards else order))
    items = _in_order(list(rows.values_list("pk", flat=True)[: limit + 1]))
    more, items = len(items) > limit, items[:limit]
    if backwards:
        items.reverse()
    has_next = backwards or more
    has_previous = (backwards and more) or (not backwards and bool(cursor))
    return Page(
        items,
        next=_cursor(items[-1], False) if items and has_next else None,
        previous=_cursor(items[0], True) if items and has_previous else None,
    )


def _in_order(ids: list[UUID]) -> list[VirtualMachine]:
    """Return these machines with details, in this order: the page is found in an index, and only then joined."""
    found = {vm.pk: vm for vm in with_details(VirtualMachine.objects.filter(pk__in=ids))}
    return [found[pk] for pk in ids if pk in found]


def filtered_vms(
    user: User,
    *,
    search: str = "",
    rank_filter: str = "",
    project: UUID | None = None,
    everything: bool = False,
) -> QuerySet[VirtualMachine]:
    """Return the machines that a list shows, unsorted."""
    rows = visible_vms(user, everything).filter(role=Role.MACHINE)
    if project:
        rows = rows.filter(project=project)
    if rank_filter in RANK_FILTERS:
        low, high = RANK_FILTERS[rank_filter]
        rows = rows.filter(attention_rank__gte=low, attention_rank__lt=high)
    for word in search.replace("\x00", "").split()[:5]:
        rows = rows.filter(
            Q(name__icontains=word)
            | Q(nics__address__startswith=word)
            | Q(created_by__username__iexact=word)
            | Q(image__name__iexact=word)
            | Q(project__name__iexact=word)
            | Q(node__name__iexact=word)
        )
    return rows.distinct() if search else rows


def has_status(status: str, now: datetime) -> Q:
    """Return the condition of rows whose `states.display_status` is this: the same rules, for the database."""
    creates = Operation.objects.filter(vm=OuterRef("pk"), status__in=LIVE, kind__in=MAKING)
    deleted, creating = Q(desired_state=DesiredState.DELETED), Q(Exists(creates))
    away = Q(node__synced_at=None) | Q(node__synced_at__lt=now - settings.NODE_AWAY_AFTER)
    broken = (
        Q(failure__in=("create_failed", "delete_failed"))
        | Q(observed_reason__in=ERROR_REASONS)
        | Q(observed_reason="", failure__in=ERROR_REASONS)
    )
    seen = ~deleted & ~creating & ~away
    match status:
        case Status.DELETING:
            return deleted & ~Q(failure="delete_failed")
        case Status.CREATING:
            return ~deleted & creating
        case Status.UNKNOWN:
            return ~deleted & ~creating & away
        case Status.ERROR:
            return deleted & Q(failure="delete_failed") | seen & broken
        case _:
            return seen & ~broken & Q(observed_state=status)


def counts_for(
    user: User, *, search: str = "", project: UUID | None = None, everything: bool = False
) -> dict[str, int]:
    """Return how many machines each filter of the list would show, and `all`. One query over an index."""
    rows = filtered_vms(user, search=search, project=project, everything=everything)
    by_rank = dict(rows.order_by().values_list("attention_rank").annotate(n=Count("id", distinct=bool(search))))
    counts = {
        name: sum(n for rank, n in by_rank.items() if low <= rank < high) for name, (low, high) in RANK_FILTERS.items()
    }
    return counts | {"all": sum(by_rank.values())}


def sandbox_count(user: User, project: UUID | None = None) -> int:
    """Return how many sandboxes the user sees, in one project or in all of theirs."""
    rows = VirtualMachine.objects.filter(role=Role.SANDBOX, project__memberships__user=user)
    return rows.filter(project=project).count() if project else rows.count()


def _cursor(vm: VirtualMachine, backwards: bool) -> str:
    raw = json.dumps([vm.attention_rank, vm.name, str(vm.pk), backwards]).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[int, str, UUID | None, bool]:
    if not cursor:
        return 0, "", None, False
    try:
        value: Any = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        rank, name, pk, backwards = value
        if not (isinstance(rank, int) and 0 <= rank < 1000 and _plain(name) and isinstance(backwards, bool)):
            raise ValueError
        return rank, name, UUID(pk), backwards
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise BadInput({"cursor": [_("This cursor is not one of ours. Start again without it.")]}) from None


def _plain(name: Any) -> bool:
    """Is this text that a database takes? No zero bytes, no halves of a character."""
    return isinstance(name, str) and name.isprintable()
