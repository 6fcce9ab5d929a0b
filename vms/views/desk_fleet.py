"""The desk's view of all machines, operations and nodes."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.actor import Actor
from accounts.door import act, answer, ask, page, reader, staff_only
from accounts.refusals import BadInput, NotVisible

from .. import overview, queries, services
from ..forms import CordonForm
from ..models import Node
from ..presenting.fragments import cards_for
from ..presenting.operations import OperationCard
from .desk import address, levels
from .machines import FILTERS, PAGE_SIZE

OPERATION_FILTERS = [
    ("", gettext_lazy("All")),
    ("live", gettext_lazy("Under way")),
    ("failed", gettext_lazy("Failed")),
    ("cancelled", gettext_lazy("Cancelled")),
    ("done", gettext_lazy("Done")),
]


def pages(request: HttpRequest, found: Any, *keep: str) -> dict[str, str]:
    """Return the addresses of the pages before and after."""
    return {
        "next": address(request, *keep, cursor=found.next) if found.next else "",
        "previous": address(request, *keep, cursor=found.previous) if found.previous else "",
    }


@page
@staff_only
def machines(request: HttpRequest) -> HttpResponseBase:
    """Everybody's machines, sorted by what needs attention."""
    search, chosen = request.GET.get("q", "")[:100], request.GET.get("filter", "")
    wanted: dict[str, Any] = {"search": search, "everything": True}
    try:
        found = queries.list_vms_for(
            reader(request), limit=PAGE_SIZE, cursor=request.GET.get("cursor", ""), rank_filter=chosen, **wanted
        )
    except BadInput:
        return redirect(request.path)
    counts = queries.counts_for(reader(request), **wanted)
    context = {
        "cards": cards_for(reader(request), found.items),
        "show_project": True,
        "counts": counts,
        "filters": [
            {"label": label, "count": counts[name], "href": address(request, "q", filter=key), "on": key == chosen}
            for key, name, label in FILTERS
        ],
        "chosen": chosen,
        "search": search,
        "page": pages(request, found, "q", "filter"),
    }
    return render(request, "desk/machines.html", context)


@page
@staff_only
def operations(request: HttpRequest) -> HttpResponseBase:
    """Everybody's operations, newest first, with what only staff need to know."""
    search, chosen = request.GET.get("q", "")[:100], request.GET.get("filter", "")
    try:
        found = overview.list_operations(chosen=chosen, search=search, cursor=request.GET.get("cursor", ""))
    except BadInput:
        return redirect(request.path)
    context = {
        "operations": [OperationCard(operation) for operation in found.items],
        "filters": [
            {"label": label, "href": address(request, "q", filter=key), "on": key == chosen}
            for key, label in OPERATION_FILTERS
        ],
        "chosen": chosen,
        "search": search,
        "page": pages(request, found, "q", "filter"),
    }
    return render(request, "desk/operations.html", context)


@page
@staff_only
def nodes(request: HttpRequest) -> HttpResponseBase:
    """The hypervisor hosts."""
    return render(request, "desk/nodes.html", {"nodes": overview.nodes()})


@page
@staff_only
def cordon(request: HttpRequest, node_id: UUID) -> HttpResponseBase:
    """Ask why, then let no new machine be placed on a node."""
    node = Node.objects.filter(pk=node_id).first()
    if node is None:
        raise NotVisible
    form = CordonForm(request.POST or None, initial={"reason": node.cordon_reason})
    if request.method == "POST" and form.is_valid():
        try:
            services.request_cordon(Actor.of(request), node_id, form.cleaned_data["reason"])
            said = _("%(name)s takes no new machines.") % {"name": node.name}
            return answer(request, said, go=reverse("desk:nodes"))
        except BadInput as refusal:
            form.take(refusal)
    context = {"node": node, "form": form, "heading": node.name, "back": reverse("desk:nodes")}
    return ask(request, "desk/ask_cordon.html", context, 422 if form.errors else 200)


@act
@staff_only
def uncordon(request: HttpRequest, node_id: UUID) -> HttpResponseBase:
    """Let new machines be placed on a node again."""
    node = services.request_uncordon(Actor.of(request), node_id)
    return answer(request, _("%(name)s takes new machines again.") % {"name": node.name}, go=reverse("desk:nodes"))


@page
@staff_only
def capacity(request: HttpRequest) -> HttpResponseBase:
    """How full everything is, and how much more quotas promise."""
    found = overview.nodes()
    context = {
        "capacity": levels(found),
        "sandboxes": sum(view.sandboxes for view in found),
        "spares": sum(view.spares for view in found),
        "builders": sum(view.builders for view in found),
    }
    return render(request, "desk/capacity.html", context)
