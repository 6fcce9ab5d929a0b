"""The desk's first page: is anything burning, and what happens."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.dimensions import Dimension
from accounts.door import page, reader, staff_only
from accounts.people import list_entries

from .. import overview, queries
from ..presenting import capacity
from ..presenting.desk import attention, summary
from ..presenting.fragments import cards_for
from ..presenting.trail import Line

SHOWN_MACHINES = 8
SHOWN_ENTRIES = 6
LEVELS = [
    (Dimension.VCPUS, _("Processors"), capacity.processors),
    (Dimension.MEMORY_MIB, _("Memory"), capacity.memory),
    (Dimension.DISK_GIB, _("Disk"), capacity.disks),
]


def levels(nodes: list[overview.NodeView]) -> list[dict[str, Any]]:
    """Return the bars of every dimension that a node has."""
    promised = overview.promised()
    return [
        {"key": dimension.value, "label": label, "levels": make(nodes, promised[dimension])}
        for dimension, label, make in LEVELS
    ]


def address(request: HttpRequest, *keep: str, **changes: str) -> str:
    """Return this page's address with some of its query kept and some changed."""
    query = {name: request.GET[name] for name in keep if request.GET.get(name)} | changes
    wanted = {name: value for name, value in query.items() if value}
    return f"{request.path}?{urlencode(wanted)}" if wanted else request.path


@page
@staff_only
def desk(request: HttpRequest) -> HttpResponseBase:
    """What needs attention."""
    nodes = overview.nodes()
    items = attention(nodes)
    found = queries.list_vms_for(reader(request), limit=SHOWN_MACHINES, rank_filter="attention", everything=True)
    counts = queries.counts_for(reader(request), everything=True)
    context = {
        "nodes": nodes,
        "items": items,
        "summary": summary(items, nodes),
        "cards": cards_for(reader(request), found.items),
        "counts": counts,
        "capacity": levels(nodes),
        "today": overview.today(timezone.now()),
        "entries": [Line(entry) for entry in list_entries(limit=SHOWN_ENTRIES).items],
    }
    return render(request, "desk/attention.html", context)
