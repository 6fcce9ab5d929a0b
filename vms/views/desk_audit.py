"""The desk's audit log: who did what to what, and when."""

from datetime import date

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render

from accounts.door import page, staff_only
from accounts.people import list_entries
from accounts.refusals import BadInput

from ..presenting.trail import GROUPS, Line
from .desk import address
from .desk_fleet import pages

KEPT = ("q", "who", "action", "day")


@page
@staff_only
def audit(request: HttpRequest) -> HttpResponseBase:
    """The trail, newest first, by person, kind, day and what it is about."""
    search, who = request.GET.get("q", "")[:100], request.GET.get("who", "")[:150].replace("\x00", "")
    chosen = request.GET.get("action", "")
    day = _day(request.GET.get("day", ""))
    try:
        found = list_entries(
            who=who,
            action=chosen if any(chosen == key for key, _label in GROUPS) else "",
            about=search,
            day=day,
            cursor=request.GET.get("cursor", ""),
        )
    except BadInput:
        return redirect(request.path)
    context = {
        "lines": [Line(entry) for entry in found.items],
        "filters": [
            {"label": label, "href": address(request, "q", "who", "day", action=key), "on": key == chosen}
            for key, label in GROUPS
        ],
        "chosen": chosen,
        "search": search,
        "who": who,
        "day": day.isoformat() if day else "",
        "filtered": bool(search or who or chosen or day),
        "page": pages(request, found, *KEPT),
    }
    return render(request, "desk/audit.html", context)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
