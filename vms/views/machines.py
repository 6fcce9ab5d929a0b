"""The list of machines: search, filters, keyset pages, and acts on several at once."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy, ngettext

from accounts.access import as_uuid
from accounts.actor import Actor
from accounts.door import act, answer, ask, page, reader, refused
from accounts.refusals import BadInput, Refusal

from .. import queries, services
from ..context import chosen_project
from ..presenting.fragments import cards_for
from ..states import ACTIVE

PAGE_SIZE = 50
SELECTABLE = 100
FILTERS = [
    ("", "all", gettext_lazy("All")),
    ("running", "running", gettext_lazy("Running")),
    ("progress", "progress", gettext_lazy("In progress")),
    ("attention", "attention", gettext_lazy("Needs you")),
    ("off", "off", gettext_lazy("Not running")),
]
BULK = {"start": services.request_start, "stop": services.request_stop, "delete": services.request_delete}


@page
def machines(request: HttpRequest) -> HttpResponseBase:
    """The list, sorted by what needs attention."""
    project = chosen_project(request)
    search = request.GET.get("q", "")[:100]
    chosen = request.GET.get("filter", "")
    view = request.GET.get("view") or request.COOKIES.get("view")
    wanted: dict[str, Any] = {"search": search, "project": project.id if project else None}
    try:
        found = queries.list_vms_for(
            reader(request),
            limit=PAGE_SIZE,
            cursor=request.GET.get("cursor", ""),
            rank_filter=chosen,
            **wanted,
        )
    except BadInput:
        return redirect(request.path)
    counts = queries.counts_for(reader(request), **wanted)
    context = {
        "cards": cards_for(reader(request), found.items),
        "show_project": project is None,
        "project": project,
        "counts": counts,
        "filters": [
            {
                "label": label,
                "count": counts[name],
                "href": _address(request, filter=key),
                "on": key == chosen,
            }
            for key, name, label in FILTERS
        ],
        "chosen": chosen,
        "search": search,
        "view": "cards" if view == "cards" else "table",
        "views": {name: _address(request, keep=True, view=name) for name in ("table", "cards")},
        "page": {
            "next": _address(request, cursor=found.next) if found.next else "",
            "previous": _address(request, cursor=found.previous) if found.previous else "",
        },
        "all_machines": reverse("vms:list"),
    }
    response = render(request, "vms/machines.html", context)
    if request.GET.get("view") in ("table", "cards"):
        response.set_cookie("view", request.GET["view"], max_age=31536000, samesite="Lax")
    return response


def _address(request: HttpRequest, *, keep: bool = False, **changes: str) -> str:
    """Return this list's address with changes; a new filter starts at the first page."""
    query = {name: request.GET[name] for name in ("q", "filter", "project") if request.GET.get(name)}
    if keep and request.GET.get("cursor"):
        query["cursor"] = request.GET["cursor"]
    query = {name: value for name, value in (query | changes).items() if value}
    return f"{request.path}?{urlencode(query)}" if query else request.path


def _selected(request: HttpRequest) -> list[UUID]:
    values = request.POST.getlist("vm") or request.GET.getlist("vm")
    return [found for value in values[:SELECTABLE] if (found := as_uuid(value))]


@act
def bulk(request: HttpRequest, verb: str) -> HttpResponseBase:
    """Start, stop or delete what is selected; each is its own request, refusals are counted and said."""
    if verb not in BULK:
        raise Http404
    chosen = _selected(request)
    done, refusals = 0, []
    for vm_id in chosen:
        try:
            BULK[verb](Actor.of(request), vm_id)
            done += 1
        except Refusal as refusal:
            refusals.append(refusal)
    if refusals and not done:
        return refused(request, refusals[0])
    sentence = _bulk_sentence(verb, done)
    if refusals:
        rest = ngettext("%(n)s could not: %(why)s", "%(n)s could not: %(why)s", len(refusals))
        sentence += " " + rest % {"n": len(refusals), "why": refusals[0].detail}
    return answer(request, sentence)


def _bulk_sentence(verb: str, n: int) -> str:
    if verb == "start":
        return ngettext("%(n)s machine starts.", "%(n)s machines start.", n) % {"n": n}
    if verb == "stop":
        return ngettext("%(n)s machine is asked to shut down.", "%(n)s machines are asked to shut down.", n) % {"n": n}
    return ngettext("%(n)s machine is being deleted.", "%(n)s machines are being deleted.", n) % {"n": n}


@page
def bulk_delete(request: HttpRequest) -> HttpResponseBase:
    """Ask before several machines are lost for good: their number is typed."""
    rows = queries.visible_vms(reader(request)).filter(pk__in=_selected(request)).order_by("name")
    vms = list(rows)
    typed = request.POST.get("sure", "").strip()
    if request.method == "POST" and typed == str(len(vms)):
        return bulk(request, "delete")
    context = {
        "vms": vms,
        "running": sum(vm.observed_state in ACTIVE for vm in vms),
        "disk_gib": sum(vm.disk_gib for vm in vms),
        "heading": ngettext("Delete %(n)s machine?", "Delete %(n)s machines?", len(vms)) % {"n": len(vms)},
        "wrong": request.method == "POST",
    }
    return ask(request, "vms/ask_bulk_delete.html", context, 422 if context["wrong"] else 200)
