"""The list of sandboxes, with the templates that new ones are made from."""

import uuid
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.access import Verb, allows
from accounts.actor import Actor
from accounts.dimensions import Dimension
from accounts.door import act, answer, by_script, page, reader
from accounts.models import Project
from accounts.refusals import BadInput, NotVisible, QuotaExceeded, Refusal
from vms import quotas
from vms.context import chosen_project, my_projects
from vms.presenting.fragments import roles_of
from vms.presenting.gauges import gauges
from vms.presenting.shortages import shortfall

from .. import queries, services
from ..forms import NewSandboxForm
from ..models import Sandbox
from ..presenting.cards import sandbox_cards
from ..presenting.templates import TemplateCard, template_cards
from .once import made_before, remember

SHOWN = 100


@page
def sandboxes(request: HttpRequest) -> HttpResponseBase:
    """Templates to start from, and the sandboxes of the chosen project or of all."""
    return _show(request)


def new(request: HttpRequest, template_id: UUID) -> HttpResponseBase:
    """Make a sandbox with one press. A refusal stands on the page that it was pressed on, whose address is this one."""
    return redirect("sandboxes:list") if request.method == "GET" else _new(request, template_id)


@act
def _new(request: HttpRequest, template_id: UUID) -> HttpResponseBase:
    made = made_before(request)
    if made is not None:
        return answer(request, _("It is being made."), go=reverse("sandboxes:detail", args=[made]))
    try:
        sandbox = _make(request, template_id)
    except NotVisible:
        raise
    except Refusal as refusal:
        if by_script(request):
            raise
        return _show(request, refusal, template_id)
    remember(request, sandbox.vm_id)
    if by_script(request):
        return answer(request, _said(sandbox), go=reverse("sandboxes:detail", args=[sandbox.vm_id]))
    messages.success(request, _said(sandbox))
    return redirect("sandboxes:detail", sandbox.vm_id)


def _said(sandbox: Sandbox) -> str:
    name = sandbox.vm.name
    if sandbox.plain_reason:
        return _("%(name)s boots from its image, which takes longer than a copy.") % {"name": name}
    return _("%(name)s is yours.") % {"name": name}


def _make(request: HttpRequest, template_id: UUID) -> Sandbox:
    form = NewSandboxForm(request.POST)
    template = queries.get_template_for(reader(request), template_id)
    if not form.is_valid():
        raise BadInput({name: [str(one) for one in errors] for name, errors in form.errors.items()})
    asked = form.cleaned_data
    project = asked["project"] or _usual_project(request, template.project)
    wanted = services.NewSandbox(
        template=str(template_id),
        name=asked["name"].strip() or None,
        project=project,
        lease_minutes=asked["lease_minutes"],
        network=asked["network"] or None,
    )
    return services.request_sandbox(Actor.of(request), wanted)[0]


def _usual_project(request: HttpRequest, of_template: Project | None) -> str | None:
    if of_template is not None:
        return of_template.name
    usual = next(iter(_changeable(request)), None)
    return usual.name if usual else None


def _changeable(request: HttpRequest) -> list[Project]:
    """Return the projects in which the reader may make things, the chosen one first."""
    roles, chosen = roles_of(reader(request)), chosen_project(request)
    found = [project for project in my_projects(request) if allows(roles.get(project.pk), Verb.CHANGE)]
    return sorted(found, key=lambda project: project != chosen)


def offered_cards(request: HttpRequest, project: Project | None) -> list[TemplateCard]:
    """Return the templates that the reader may start from; of a chosen project, everybody's and its own."""
    rows = queries.with_builds(queries.visible_templates(reader(request)))
    if project is not None:
        rows = rows.filter(project__in=[project]) | rows.filter(project=None)
    cards = template_cards(rows, queries.spares_by_build(), queries.template_gate(reader(request)))
    return sorted(cards, key=lambda card: (not card.ready, -card.spares, card.template.name))


def _typed(request: HttpRequest, template_id: UUID | None) -> dict[str, Any]:
    """Return what was chosen on a template's card, so that a refusal does not take it away."""
    minutes = request.POST.get("lease_minutes", "")
    return {
        "template": template_id,
        "lease_minutes": int(minutes) if minutes.isdecimal() and len(minutes) < 10 else 0,
        **{name: request.POST.get(name, "") for name in ("network", "project", "name")},
    }


def _show(request: HttpRequest, refusal: Refusal | None = None, template_id: UUID | None = None) -> HttpResponse:
    user, project = reader(request), chosen_project(request)
    rows = queries.sandboxes_with_details(queries.visible_sandboxes(user)).order_by(
        "vm__attention_rank", "vm__name", "pk"
    )
    if project is not None:
        rows = rows.filter(vm__project=project)
    found = list(rows[: SHOWN + 1])
    more = rows.count() - SHOWN if len(found) > SHOWN else 0
    projects = _changeable(request)
    templates = offered_cards(request, project)
    context: dict[str, Any] = {
        "templates": templates,
        "sandboxes": sandbox_cards(user, found[:SHOWN], timezone.now()),
        "more": more,
        "project": project,
        "show_project": project is None,
        "projects": projects,
        "chosen": project,
        "may_make": bool(projects) or user.is_staff,
        "request_key": uuid.uuid4(),
        "room": _room(project),
        "command": f"slipway run {templates[0].template.name} -- ./dangerous.sh" if templates else "",
        "refusal": refusal,
        "typed": _typed(request, template_id),
        "sentences": _sentences(refusal),
    }
    if isinstance(refusal, QuotaExceeded):
        name = request.POST.get("project") or (projects[0].name if projects else "")
        context["shortfall"] = shortfall(refusal.extra["quota"], name, user.username)
    return render(request, "sandboxes/list.html", context, status=refusal.status if refusal else 200)


def _sentences(refusal: Refusal | None) -> list[str]:
    if isinstance(refusal, BadInput):
        return [str(sentence) for found in refusal.fields.values() for sentence in found]
    return [str(refusal.detail)] if refusal else []


def _room(project: Project | None) -> str:
    """Say how many of its sandboxes and minutes a project uses."""
    if project is None:
        return ""
    shown = (Dimension.SANDBOXES, Dimension.SANDBOX_MINUTES)
    return ", ".join(
        f"{gauge.label}{_(': ')}{gauge.short}" for gauge in gauges(quotas.usage(project), quotas.limits(project), shown)
    )
