"""People, projects and the audit trail as staff look through them."""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from .access import as_uuid
from .keyset import Page, page
from .models import AuditEntry, Membership, Project, User

PEOPLE_ON_A_PAGE = 50
ENTRIES_ON_A_PAGE = 50
WORDS_AT_MOST = 5


def words_of(search: str) -> list[str]:
    """Return the words that are looked for, without what a database refuses."""
    return search.replace("\x00", "").split()[:WORDS_AT_MOST]


def list_people(search: str = "", cursor: str = "") -> Page[User]:
    """Return people by name. BadInput for a foreign cursor."""
    rows: QuerySet[User] = User.objects.select_related("personal_project").exclude(personal_project__system=True)
    for word in words_of(search):
        rows = rows.filter(Q(username__icontains=word) | Q(email__icontains=word))
    return page(rows, ["username"], PEOPLE_ON_A_PAGE, cursor)


def list_projects(search: str = "", cursor: str = "") -> Page[Project]:
    """Return projects by name; the search looks at their members too. BadInput for a foreign cursor."""
    rows: QuerySet[Project] = Project.objects.filter(system=False).select_related("personal_of")
    for word in words_of(search):
        theirs = Membership.objects.filter(user__username__iexact=word).values("project")
        rows = rows.filter(Q(name__icontains=word) | Q(pk__in=theirs))
    return page(rows, ["name"], PEOPLE_ON_A_PAGE, cursor)


def members_of(projects: Iterable[Project]) -> dict[UUID, int]:
    """Return how many members each of these projects has; one query."""
    rows = Membership.objects.filter(project__in=list(projects)).order_by().values_list("project")
    return dict(rows.annotate(n=Count("id")))


def list_entries(
    *,
    who: str = "",
    action: str = "",
    about: str = "",
    day: date | None = None,
    cursor: str = "",
    limit: int = ENTRIES_ON_A_PAGE,
) -> Page[AuditEntry]:
    """Return the audit trail, newest first.

    `about` is a name, a project or an id; an `action` that ends with a dot stands for all that begin so.
    """
    rows: QuerySet[AuditEntry] = AuditEntry.objects.select_related("project")
    if who:
        rows = rows.filter(actor_name__iexact=who)
    if action:
        rows = rows.filter(action__startswith=action)
    for word in words_of(about):
        rows = rows.filter(_about(word))
    if day:
        begin = timezone.make_aware(datetime.combine(day, time.min))
        rows = rows.filter(at__gte=begin, at__lt=begin + timedelta(days=1))
    return page(rows, ["-id"], limit, cursor)


def _about(word: str) -> Q:
    found = as_uuid(word)
    by_name = Q(target_name__icontains=word) | Q(project__name__iexact=word) | Q(request_id=word)
    return by_name | Q(target_id=found) if found else by_name
