"""What a project may use, what it uses, and what uses it."""

from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, F, Sum
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _

from accounts.dimensions import RUNNING, SANDBOX, Dimension
from accounts.door import page, reader
from accounts.models import Project

from .. import quotas
from ..context import chosen_project, my_projects
from ..models import VirtualMachine
from ..presenting.fragments import cards_for
from ..presenting.gauges import Gauge, gauges, tightest
from ..presenting.shares import Share, member_shares, vm_shares
from ..queries import with_details

SHOWN_VMS = 8
SHARED = (Dimension.VCPUS, Dimension.MEMORY_MIB, Dimension.DISK_GIB)


@page
def quotas_page(request: HttpRequest) -> HttpResponseBase:
    """Show one project in full; without a choice, a card for each of the reader's."""
    project = chosen_project(request)
    if project is None:
        return render(request, "vms/quotas_all.html", {"cards": project_cards(my_projects(request))})
    return render(request, "vms/quotas.html", quota_context(request, project))


def project_cards(projects: list[Project]) -> list[dict[str, Any]]:
    """Return gauges for many projects; two queries."""
    usage, limits = quotas.usage_by_project(projects), quotas.limits_of(projects)
    return [{"project": project, "gauges": gauges(usage[project.pk], limits[project.pk][0])} for project in projects]


def quota_context(request: HttpRequest, project: Project) -> dict[str, Any]:
    """Return what the page of one project's quota shows."""
    usage = quotas.usage(project)
    limits, of_members = quotas.limits_of([project])[project.pk]
    dimension = next((d for d in SHARED if d == request.GET.get("of")), Dimension.VCPUS)
    by_member = request.GET.get("by") == "member"
    shares = _member_shares if by_member else _vm_shares
    allocated, running = gauges(usage, limits), gauges(usage, limits, RUNNING)
    sandboxes = gauges(usage, limits, SANDBOX)
    return {
        "project": project,
        "allocated": allocated,
        "running": running,
        "sandboxes": sandboxes,
        "headline": headline([*allocated, *running, *sandboxes]),
        "shares": shares(request, project, dimension, usage[dimension]),
        "dimensions": [
            {
                "label": d.label,
                "href": _address(of=d.value, by="member" if by_member else ""),
                "on": d == dimension,
            }
            for d in SHARED
        ],
        "groups": [
            {"label": _("Machine"), "href": _address(of=dimension.value), "on": not by_member},
            {"label": _("Member"), "href": _address(of=dimension.value, by="member"), "on": by_member},
        ],
        "members": member_gauges(project, of_members),
        "more": _("Project %(name)s: %(dimension)s from %(now)s to ...")
        % {"name": project.name, "dimension": dimension.label, "now": limits[dimension]},
    }


def headline(found: list[Gauge]) -> str:
    """Say what runs out first."""
    first = tightest(found)
    if first is None:
        return _("Nothing is limited here.")
    return _("First to run out: %(dimension)s. %(left)s.") % {"dimension": first.label, "left": first.left_text}


def member_gauges(project: Project, of_members: dict[str, dict[str, int | None]]) -> list[dict[str, Any]]:
    """Return the members who have limits of their own, each with gauges of what they use."""
    members = {user.username: user for user in project.members.filter(username__in=list(of_members))}
    found = []
    for name, limits in sorted(of_members.items()):
        limited = [dimension for dimension in Dimension.values if limits.get(dimension) is not None]
        if name in members and limited:
            found.append({"name": name, "gauges": gauges(quotas.usage(project, members[name]), limits, limited)})
    return found


def _address(**query: str) -> str:
    return "?" + urlencode({name: value for name, value in query.items() if value}) + "#uses"


def _vm_shares(request: HttpRequest, project: Project, dimension: Dimension, whole: int) -> list[Share]:
    rows = VirtualMachine.objects.filter(project=project).order_by(f"-{dimension.value}", "name")
    shown = list(with_details(rows)[:SHOWN_VMS])
    rest = VirtualMachine.objects.filter(project=project).exclude(pk__in=[vm.pk for vm in shown])
    others = rest.aggregate(n=Count("id"), together=Sum(dimension.value, default=0))
    cards = cards_for(reader(request), shown)
    return vm_shares(cards, dimension, whole, (others["n"], others["together"]))


def _member_shares(request: HttpRequest, project: Project, dimension: Dimension, whole: int) -> list[Share]:
    rows = (
        VirtualMachine.objects.filter(project=project)
        .order_by()
        .values("created_by")
        .annotate(name=F("created_by__username"), machines=Count("id"), together=Sum(dimension.value, default=0))
        .order_by("-together", "name")
    )
    return member_shares([(row["name"], row["machines"], row["together"]) for row in rows], dimension, whole)
