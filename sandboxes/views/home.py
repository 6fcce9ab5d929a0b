"""The first page: how things are, what needs you, how much room is left, and which sandboxes live."""

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from accounts.door import page, reader
from vms.context import chosen_project
from vms.views.home import home_context

from .. import queries
from ..presenting.cards import sandbox_cards

SHOWN = 5


@page
def home(request: HttpRequest) -> HttpResponseBase:
    """Show the chosen project, or all of the reader's; of sandboxes, the reader's own that end first."""
    user, project = reader(request), chosen_project(request)
    rows = queries.sandboxes_with_details(queries.visible_sandboxes(user)).filter(vm__created_by=user)
    if project is not None:
        rows = rows.filter(vm__project=project)
    mine = list(rows.order_by("expires_at", "pk")[:SHOWN])
    sandboxes = sandbox_cards(user, mine, timezone.now())
    return render(request, "home.html", home_context(request) | {"sandboxes": sandboxes})
