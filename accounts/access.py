"""What a role allows. The one place that knows; everything else asks here."""

from enum import Enum
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from .models import Membership, Project, Role, User
from .refusals import Forbidden, NotVisible


class Verb(Enum):
    """What someone wants with a thing of a project."""

    SEE = "see"
    CHANGE = "change"  # create, power, resize, delete machines
    CONSOLE = "console"  # keystrokes are passwords: staff need a membership too
    MANAGE = "manage"  # members of the project


_ALLOWED: dict[Verb, frozenset[str]] = {
    Verb.SEE: frozenset(Role.values),
    Verb.CHANGE: frozenset({Role.OWNER, Role.MEMBER}),
    Verb.CONSOLE: frozenset({Role.OWNER, Role.MEMBER}),
    Verb.MANAGE: frozenset({Role.OWNER}),
}
_STAFF = frozenset({Verb.SEE, Verb.CHANGE, Verb.MANAGE})


def allows(role: str | None, verb: Verb, is_staff: bool = False) -> bool:
    """May someone with this role (None: no member) do that?"""
    return (role in _ALLOWED[verb]) or (is_staff and verb in _STAFF)


def role_in(user: User, project_id: UUID) -> str | None:
    """Return the user's role in a project, or None."""
    return Membership.objects.filter(user=user, project=project_id).values_list("role", flat=True).first()


def check(user: User, project_id: UUID, verb: Verb) -> None:
    """Raise NotVisible for what the user may not see, Forbidden for what they see and may not do."""
    role = role_in(user, project_id) if user.is_active else None
    if not user.is_active or not allows(role, Verb.SEE, user.is_staff):
        raise NotVisible
    if not allows(role, verb, user.is_staff):
        raise Forbidden(
            _("Staff open consoles only of projects that they are members of.")
            if role is None
            else _("Your role in this project is too small for that: ask an owner of it.")
        )


def projects_of(user: User) -> QuerySet[Project]:
    """Return the projects that the user is a member of (staff too: seeing all is for the desk)."""
    return Project.objects.filter(memberships__user=user)


def get_project_for(user: User, ref: str | UUID | None, verb: Verb = Verb.SEE) -> Project:
    """Return the project with this id or name, or the personal one for None; NotVisible, Forbidden."""
    project = _project(user, ref)
    if project is None:
        raise NotVisible
    check(user, project.id, verb)
    return project


def _project(user: User, ref: str | UUID | None) -> Project | None:
    """Look for an id first: a project that is named like another one's id must not stand before it."""
    if ref is None or ref == "":
        return Project.objects.filter(personal_of=user).first()
    uuid = as_uuid(ref)
    found = Project.objects.filter(id=uuid).first() if uuid else None
    if found is None and str(ref).isprintable():  # no zero bytes, which a database refuses
        found = Project.objects.filter(name=str(ref)).first()
    return found


def as_uuid(ref: str | UUID) -> UUID | None:
    """Return the UUID that this text is, or None."""
    if isinstance(ref, UUID):
        return ref
    try:
        return UUID(ref)
    except ValueError:
        return None
