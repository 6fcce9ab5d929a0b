"""The form of a new machine."""

import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.access import Verb, allows
from accounts.actor import Actor
from accounts.dimensions import Dimension
from accounts.door import page, reader
from accounts.models import Project
from accounts.refusals import BadInput, QuotaExceeded, Refusal

from .. import quotas, services
from ..context import chosen_project, my_projects
from ..forms import NewVmForm, offered_flavors, offered_images
from ..models import VirtualMachine
from ..presenting.fragments import roles_of, typical_seconds
from ..presenting.gauges import Gauge, gauges
from ..presenting.shortages import Shortfall, shortfall
from ..states import OperationKind

_MADE = "made"  # in the session: what a form's one-time key has made, so that sending it twice makes one machine
_MADE_KEPT = 20


@page
def create(request: HttpRequest) -> HttpResponseBase:
    """Show the form, or make the machine and go to its page."""
    roles = roles_of(reader(request))
    projects = [project for project in my_projects(request) if allows(roles.get(project.id), Verb.CHANGE)]
    if request.method != "POST":
        return _show(request, NewVmForm(projects=projects, initial=_initial(request, projects)), projects)
    form = NewVmForm(request.POST, projects=projects)
    made = request.session.get(_MADE, {}).get(request.POST.get("request_key", ""))
    if made:
        return redirect("vms:detail", made)
    refusal: Refusal | None = None
    if form.is_valid():
        try:
            vm = _create(request, form)
        except BadInput as bad:
            form.take(bad)
        except Refusal as other:
            refusal = other
        else:
            return redirect("vms:detail", vm.pk)
    return _show(request, form, projects, refusal)


def _initial(request: HttpRequest, projects: list[Project]) -> dict[str, Any]:
    chosen = chosen_project(request)
    first = chosen if chosen in projects else next(iter(projects), None)
    images, flavors = offered_images(), offered_flavors()
    start = {"request_key": uuid.uuid4(), "project": first.name if first else "", "start": True}
    if images:
        start["image"] = request.GET.get("image") or images[0].name
    if flavors:
        start["flavor"] = request.GET.get("flavor") or flavors[0].name
    return start


def _create(request: HttpRequest, form: NewVmForm) -> VirtualMachine:
    asked = dict(form.cleaned_data)
    key = str(asked.pop("request_key"))
    vm, operation = services.request_create(Actor.of(request), services.NewVm(**asked))
    made = dict(list(request.session.get(_MADE, {}).items())[-_MADE_KEPT:])
    request.session[_MADE] = made | {key: str(vm.pk)}
    said = _("Creating %(name)s. You can watch it boot.") % {"name": vm.name}
    messages.success(request, said, extra_tags=reverse("operation", args=[operation.pk]))
    return vm


def _show(
    request: HttpRequest, form: NewVmForm, projects: list[Project], refusal: Refusal | None = None
) -> HttpResponse:
    context = {
        "form": form,
        "images": offered_images(),
        "flavors": offered_flavors(),
        "projects": projects,
        "panels": [_panel(request, project) for project in projects],
        "refusal": refusal,
        "shortfall": _shortfall(request, form, refusal),
        "typical": typical_seconds(OperationKind.CREATE),
        "api_url": f"{settings.PORTAL_URL}/api/v1/vms",
        "crumbs": [{"label": _("Machines"), "href": reverse("vms:list")}, {"label": _("New")}],
    }
    status = 200 if refusal is None and not form.errors else 422
    return render(request, "vms/create.html", context, status=status)


def _shortfall(request: HttpRequest, form: NewVmForm, refusal: Refusal | None) -> Shortfall | None:
    if not isinstance(refusal, QuotaExceeded):
        return None
    return shortfall(refusal.extra["quota"], form.cleaned_data["project"], reader(request).username)


def _panel(request: HttpRequest, project: Project) -> dict[str, Any]:
    """Return a project's gauges, and the reader's own share in it where one is set."""
    user = reader(request)
    of_project, of_members = quotas.limits_of([project])[project.id]
    used = quotas.usage(project)
    shown = [*quotas.ALLOCATED, *(d for d in quotas.RUNNING if _tighter(of_project, d))]
    panel: dict[str, Any] = {
        "project": project,
        "gauges": [_data(g) for g in gauges(used, of_project, shown)],
    }
    own = {d: limit for d, limit in of_members.get(user.username, {}).items() if limit is not None}
    if own:
        panel["own"] = [_data(g) for g in gauges(quotas.usage(project, user), own, own)]
    return panel


_ALLOCATED_OF = {
    Dimension.RUNNING_VMS: Dimension.VMS,
    Dimension.RUNNING_VCPUS: Dimension.VCPUS,
    Dimension.RUNNING_MEMORY_MIB: Dimension.MEMORY_MIB,
}


def _tighter(limits: dict[str, int | None], running: Dimension) -> bool:
    """Does the running limit say more than the one on what is allocated?"""
    limit, allocated = limits.get(running), limits.get(_ALLOCATED_OF[running])
    return limit is not None and (allocated is None or limit < allocated)


def _data(gauge: Gauge) -> dict[str, Any]:
    """Return a gauge with what the script needs to draw it: plain numbers in the API's units."""
    unit = {"memory_mib": "mib", "running_memory_mib": "mib", "disk_gib": "gib"}.get(str(gauge.dimension), "")
    return {"gauge": gauge, "unit": unit, "limit": "" if gauge.limit is None else gauge.limit}
