"""The isolation report of a sandbox: GET shows the last one, POST has it checked again from inside."""

from uuid import UUID

from django.core.cache import cache
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.actor import Actor
from accounts.door import by_script, page, reader, refused
from accounts.refusals import InvalidState, Refusal

from .. import gateway_runs, services
from ..models import Run
from ..presenting.cards import NETWORK_SHORT, NETWORK_WORDS
from ..presenting.isolation import LONGEST_SECONDS, Report, checks, command, report
from ..presenting.runs import RunView
from ..queries import get_sandbox_for
from .runs import begun

OUTPUT_BYTES = 64 * 1024
KEPT_SECONDS = 24 * 3600


@page
def isolation(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Show the report, or begin a check."""
    sandbox = get_sandbox_for(reader(request), vm_id)
    if request.method == "POST":
        return _check(request, vm_id)
    last = checks(sandbox.vm).first()
    problem, found = "", None
    try:
        found = _report(last, sandbox.network) if last else None
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
    sandbox = get_sandbox_for(reader(request), vm_id)
    argv = command(sandbox.vm)
    try:
        if argv is None:
            raise InvalidState(_("This sandbox has no network card: there is nothing to try."))
        new = services.NewRun(argv=argv, timeout_seconds=LONGEST_SECONDS)
        run = services.request_run(Actor.of(request), vm_id, new)
    except Refusal as refusal:
        return refused(request, refusal)
    return begun(request, run)


def _report(run: Run, network: str) -> Report | None:
    """Return what a check found, once it has ended. Its output does not change any more, so it is kept."""
    if run.is_live:
        return None
    key = f"isolation:{run.pk}"
    output: str | None = cache.get(key)
    if output is None:
        output = gateway_runs.output(run, "stdout", 0, OUTPUT_BYTES).data.decode("utf-8", "replace")
        cache.set(key, output, KEPT_SECONDS)
    return report(run, output, network)
