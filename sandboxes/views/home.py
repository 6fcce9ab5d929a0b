"""The first page: how things are, what needs you, how much room is left, and which sandboxes live."""

from django.db.models import F
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
    order = F("ended_at").desc(nulls_first=True), F("expires_at").asc(nulls_last=True), "pk"
    sandboxes = sandbox_cards(user, rows.order_by(*order)[:SHOWN], timezone.now())
    ending = [sandbox for sandbox in sandboxes if sandbox.ending]
    context = home_context(request)
    context |= {"sandboxes": sandboxes, "ending": ending, "things": context["counts"]["attention"] + len(ending)}
    return render(request, "home.html", context)
