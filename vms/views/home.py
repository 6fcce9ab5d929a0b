"""The first page: how things are, what needs you, how much room is left."""

from typing import Any

from django.http import HttpRequest

from accounts.door import reader

from .. import queries, quotas
from ..context import chosen_project, my_projects
from ..models import Operation
from ..presenting.fragments import cards_for
from ..presenting.gauges import gauges
from ..presenting.operations import OperationCard

SHOWN_ATTENTION = 5
SHOWN_SCREENS = 8
SHOWN_LATELY = 6


def home_context(request: HttpRequest) -> dict[str, Any]:
    """Return how the chosen project is, or all of the reader's."""
    user = reader(request)
    project = chosen_project(request)
    wanted: dict[str, Any] = {"project": project.id if project else None}
    needs_you = queries.list_vms_for(user, limit=SHOWN_ATTENTION, rank_filter="attention", **wanted)
    underway = queries.list_vms_for(user, limit=SHOWN_SCREENS, rank_filter="progress", **wanted)
    running = queries.list_vms_for(user, limit=SHOWN_SCREENS, rank_filter="running", **wanted)
    counts = queries.counts_for(user, **wanted)
    projects = [project] if project else my_projects(request)
    room = project or (projects[0] if projects else None)
    lately = (
        Operation.objects.filter(project__in=projects)
        .select_related("node", "actor")
        .order_by("-created_at")[:SHOWN_LATELY]
    )
    return {
        "project": project,
        "room": room,
        "counts": counts,
        "needs_you": cards_for(user, needs_you.items),
        "screens": cards_for(user, [*underway.items, *running.items][:SHOWN_SCREENS]),
        "gauges": gauges(quotas.usage(room), quotas.limits(room)) if room else [],
        "lately": [OperationCard(operation) for operation in lately],
    }
