"""What every page's frame shows: the way around, the chosen project, the room that is left."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.access import projects_of
from accounts.dimensions import Dimension
from accounts.models import Project, User

from . import queries, quotas
from .presenting.gauges import gauges

_CHOSEN = "project"
_CACHE = "_slipway_projects"


@dataclass(frozen=True, slots=True)
class Place:
    """One entry of the navigation. `key` is what its shortcut looks for, `letter` the second key after G."""

    key: str
    url_name: str
    label: str | Promise
    icon: str
    letter: str = ""
    prefix: str = ""


PLACES = [
    Place("home", "home", _("Home"), "home", "H"),
    Place("machines", "vms:list", _("Machines"), "machine", "M", "/vms/"),
    Place("sandboxes", "sandboxes:list", _("Sandboxes"), "sandbox", "S", "/sandboxes/"),
    Place("quotas", "quotas", _("Quotas"), "gauge", "Q"),
]
DESK_PLACES = [
    Place("desk", "desk:home", _("Attention"), "desk", "D"),
    Place("people", "desk:people", _("People"), "users", prefix="/admin-desk/people/"),
    Place("projects", "desk:projects", _("Projects"), "sliders", prefix="/admin-desk/projects/"),
    Place("all-machines", "desk:machines", _("All machines"), "machine", prefix="/admin-desk/machines/"),
    Place("operations", "desk:operations", _("Operations"), "clock", prefix="/admin-desk/operations/"),
    Place("nodes", "desk:nodes", _("Nodes"), "node", prefix="/admin-desk/nodes/"),
    Place("capacity", "desk:capacity", _("Capacity"), "gauge", prefix="/admin-desk/capacity/"),
    Place("audit", "desk:audit", _("Audit log"), "audit", prefix="/admin-desk/audit/"),
]
DESK = Place("desk", "desk:home", _("Desk"), "desk", prefix="/admin-desk/")
NEW = Place("new", "vms:new", _("New"), "plus")


def my_projects(request: HttpRequest) -> list[Project]:
    """Return the reader's projects, the personal one first. Read once a request."""
    found: list[Project] | None = getattr(request, _CACHE, None)
    if found is None:
        assert isinstance(request.user, User)
        mine = list(projects_of(request.user).order_by("name"))
        found = sorted(mine, key=lambda project: project.personal_of_id != request.user.pk)
        setattr(request, _CACHE, found)
    return found


def chosen_project(request: HttpRequest) -> Project | None:
    """Return the project that the reader looks at, or None for all of theirs.

    `?project=` chooses one and is remembered in the session.
    """
    mine = my_projects(request)
    if _CHOSEN in request.GET:
        name = request.GET[_CHOSEN]
        if name == "" or any(project.name == name for project in mine):
            request.session[_CHOSEN] = name
    name = request.session.get(_CHOSEN, "")
    if len(mine) == 1:
        return mine[0]
    return next((project for project in mine if project.name == name), None)


def shell(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `shell` for signed-in readers, nothing for others."""
    user = getattr(request, "user", None)
    if not isinstance(user, User) or not user.is_active:
        return {}
    project = chosen_project(request)
    mine = my_projects(request)
    counts = queries.counts_for(user, project=project.id if project else None)
    desk = [_item(request, place) for place in DESK_PLACES] if user.is_staff else []
    numbers = {"machines": counts["all"], "sandboxes": queries.sandbox_count(user, project.id if project else None)}
    nav = [_item(request, place, numbers.get(place.key)) for place in PLACES]
    return {
        "shell": {
            "nav": nav,
            "desk": desk,
            "tabs": [*nav, _item(request, DESK if desk else NEW)],
            "project": project,
            "projects": mine if len(mine) > 1 else [],
            "counts": counts,
            "room": _room(project or (mine[0] if mine else None)),
        }
    }


def _item(request: HttpRequest, place: Place, count: int | None = None) -> dict[str, Any]:
    href = reverse(place.url_name)
    here = request.path.startswith(place.prefix) if place.prefix else request.path == href
    if place.key == "machines" and request.path == reverse(NEW.url_name):
        here = False
    return {
        "key": place.key,
        "href": href,
        "label": place.label,
        "icon": place.icon,
        "letter": place.letter,
        "current": here,
        "count": count,
    }


def _room(project: Project | None) -> dict[str, Any] | None:
    if project is None:
        return None
    shown = (Dimension.VCPUS, Dimension.MEMORY_MIB)
    return {
        "project": project.name,
        "href": f"{reverse('quotas')}?project={project.name}",
        "gauges": gauges(quotas.usage(project), quotas.limits(project), shown),
    }
