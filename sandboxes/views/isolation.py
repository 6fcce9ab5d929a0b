"""The isolation report of a sandbox: GET shows the last one, POST has it checked again from inside."""

from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.actor import Actor
from accounts.door import by_script, page, reader, refused
from accounts.refusals import Refusal

from .. import services
from ..isolation import checks
from ..presenting.cards import NETWORK_SHORT, NETWORK_WORDS
from ..presenting.isolation import last_report
from ..presenting.runs import RunView
from ..queries import get_sandbox_for
from .runs import begun


@page
def isolation(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Show the report, or begin a check."""
    sandbox = get_sandbox_for(reader(request), vm_id)
    if request.method == "POST":
        return _check(request, vm_id)
    last = checks(sandbox.vm).first()
    problem, found = "", None
    try:
        found = last_report(sandbox) if last and not last.is_live else None
    except Refusal as refusal:
        problem = str(refusal.detail)
    context = {
        "sandbox": sandbox,
        "vm": sandbox.vm,
        "check": last,
        "check_view": RunView(last) if last else None,
        "report": found,
        "problem": problem,
        "network_words": NETWORK_WORDS[sandbox.network],
        "network_short": NETWORK_SHORT[sandbox.network],
        "back": reverse("sandboxes:detail", args=[vm_id]),
        "crumbs": [
            {"label": _("Sandboxes"), "href": reverse("sandboxes:list")},
            {"label": sandbox.vm.name, "href": reverse("sandboxes:detail", args=[vm_id])},
            {"label": _("Isolation report")},
        ],
    }
    return render(request, "sandboxes/report.html" if by_script(request) else "sandboxes/isolation.html", context)


def _check(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    try:
        run = services.request_isolation_check(Actor.of(request), vm_id)
    except Refusal as refusal:
        return refused(request, refusal)
    return begun(request, run)
