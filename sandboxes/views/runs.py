"""Commands in a sandbox: asked for, looked at, ended. Their output comes from the API, streamed."""

from uuid import UUID

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.access import Verb, allows
from accounts.actor import Actor
from accounts.door import act, answer, by_script, page, reader, refused
from accounts.refusals import BadInput, Refusal
from vms.presenting.fragments import roles_of

from .. import services
from ..forms import RunForm
from ..models import Run
from ..presenting.runs import RunView
from ..queries import get_run_for


@act
def start(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Begin a command; a script of ours follows it in place, others see its page."""
    form = RunForm(request.POST)
    if not form.is_valid():
        return refused(request, _sentence({name: [str(one) for one in errors] for name, errors in form.errors.items()}))
    try:
        run = services.request_run(Actor.of(request), vm_id, form.asked)
    except BadInput as bad:
        return refused(request, _sentence({name: [str(one) for one in found] for name, found in bad.fields.items()}))
    return begun(request, run)


def _sentence(errors: dict[str, list[str]]) -> Refusal:
    """Return the first of a form's complaints as a refusal."""
    refusal = Refusal(next(iter(errors.values()))[0], "invalid")
    refusal.status = 422
    return refusal


def begun(request: HttpRequest, run: Run) -> HttpResponseBase:
    """Answer with the run that has begun."""
    if not by_script(request):
        return redirect("sandboxes:run", run.pk)
    view = RunView(run)
    return JsonResponse({"run": str(run.pk), "title": view.title, "url": view.url, "stop": view.stop_url}, status=202)


@page
def run(request: HttpRequest, run_id: UUID) -> HttpResponseBase:
    """The page of one run."""
    found = get_run_for(reader(request), run_id)
    role = roles_of(reader(request)).get(found.vm.project_id)
    crumbs = [
        {"label": _("Sandboxes"), "href": reverse("sandboxes:list")},
        {"label": found.vm.name, "href": reverse("vms:detail", args=[found.vm_id])},
        {"label": _("Run")},
    ]
    context = {"view": RunView(found), "run": found, "may_stop": allows(role, Verb.CONSOLE), "crumbs": crumbs}
    return render(request, "sandboxes/run.html", context)


@act
def kill(request: HttpRequest, run_id: UUID) -> HttpResponseBase:
    """Ask for the end of a run."""
    services.request_kill(Actor.of(request), run_id)
    return answer(request, _("The command is being stopped."))
