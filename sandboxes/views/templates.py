"""Templates: what there is, one of them, a new one, and what staff and owners do with them."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.access import Verb, allows
from accounts.actor import Actor
from accounts.door import act, answer, ask, page, reader, refused
from accounts.models import Project, User
from accounts.refusals import BadInput, NotVisible, Refusal
from vms.context import chosen_project, my_projects
from vms.forms import offered_flavors, offered_images
from vms.presenting.fragments import roles_of

from .. import queries, services
from ..forms import NewTemplateForm, PoolForm
from ..models import TemplateBuild
from ..presenting.leases import choices
from ..presenting.templates import TemplateCard, template_cards

DEFAULT_LEASE_MINUTES = 60


def _may_make(user: User) -> bool:
    return user.is_staff or any(allows(role, Verb.CHANGE) for role in roles_of(user).values())


def _cards(request: HttpRequest, rows: Any) -> list[TemplateCard]:
    return template_cards(rows, queries.spares_by_build(), queries.template_gate(reader(request)))


@page
def templates(request: HttpRequest) -> HttpResponseBase:
    """All templates that the reader may see; staff may look at those of all projects."""
    user = reader(request)
    everything = user.is_staff and request.GET.get("all") == "1"
    rows = queries.with_builds(queries.visible_templates(user, everything)).order_by("project__name", "name")
    context = {
        "templates": _cards(request, rows),
        "may_make": _may_make(user),
        "everything": everything,
        "crumbs": [{"label": _("Sandboxes"), "href": reverse("sandboxes:list")}, {"label": _("Templates")}],
    }
    return render(request, "sandboxes/templates.html", context)


@page
def template(request: HttpRequest, template_id: UUID) -> HttpResponseBase:
    """One template: where it is ready, how large, what preparing it does, and its settings."""
    found = queries.get_template_for(reader(request), template_id)
    [item] = _cards(request, [found])
    return _show(request, item, PoolForm(initial={"pool_size": found.pool_size}))


def _show(request: HttpRequest, item: TemplateCard, pool_form: PoolForm, status: int = 200) -> HttpResponse:
    crumbs = [
        {"label": _("Sandboxes"), "href": reverse("sandboxes:list")},
        {"label": _("Templates"), "href": reverse("sandboxes:templates")},
        {"label": item.template.name},
    ]
    context = {"item": item, "pool_form": pool_form, "crumbs": crumbs}
    return render(request, "sandboxes/template.html", context, status=status)


@page
def new_template(request: HttpRequest) -> HttpResponseBase:
    """Show the form, or make the template and begin to prepare it."""
    user = reader(request)
    roles = roles_of(user)
    projects = [project for project in my_projects(request) if allows(roles.get(project.pk), Verb.CHANGE)]
    form = NewTemplateForm(
        request.POST or None,
        projects=projects,
        leases=choices(DEFAULT_LEASE_MINUTES),
        is_staff=user.is_staff,
        initial=_initial(request, projects),
    )
    if request.method == "POST" and form.is_valid():
        try:
            made = services.request_template(Actor.of(request), form.asked)
        except BadInput as bad:
            form.take(bad)
        except Refusal as refusal:
            form.add_error(None, str(refusal.detail))
        else:
            return _prepared(request, made.pk)
    context = {
        "form": form,
        "projects": projects,
        "images": offered_images(),
        "flavors": offered_flavors(),
        "may_make": bool(projects) or user.is_staff,
        "crumbs": [
            {"label": _("Sandboxes"), "href": reverse("sandboxes:list")},
            {"label": _("Templates"), "href": reverse("sandboxes:templates")},
            {"label": _("New")},
        ],
    }
    return render(request, "sandboxes/new_template.html", context, status=422 if form.errors else 200)


def _prepared(request: HttpRequest, template_id: UUID) -> HttpResponseBase:
    """Begin to prepare what was just made; where that cannot begin now, its page says why."""
    go = reverse("sandboxes:template", args=[template_id])
    try:
        services.request_prepare(Actor.of(request), template_id)
    except Refusal as refusal:
        refused(request, refusal)
        return redirect(go)
    return answer(request, _("The template is being prepared. You can watch it."), go=go)


def _initial(request: HttpRequest, projects: list[Project]) -> dict[str, Any]:
    chosen = chosen_project(request)
    first = chosen if chosen in projects else next(iter(projects), None)
    images, flavors = offered_images(), offered_flavors()
    return {
        "project": "" if reader(request).is_staff or first is None else first.name,
        "image": images[0].name if images else "",
        "flavor": flavors[0].name if flavors else "",
        "network": "nat",
        "lease_minutes": DEFAULT_LEASE_MINUTES,
        "share_ram": reader(request).is_staff,
        "pool_size": 0,
    }


@act
def prepare(request: HttpRequest, template_id: UUID) -> HttpResponseBase:
    """Begin to prepare it on every node."""
    found, _operations = services.request_prepare(Actor.of(request), template_id)
    return answer(request, _("%(name)s is being prepared.") % {"name": found.name})


@act
def pool(request: HttpRequest, template_id: UUID) -> HttpResponseBase:
    """Say how many clones wait."""
    found = queries.get_template_for(reader(request), template_id, Verb.CHANGE)
    form = PoolForm(request.POST)
    if form.is_valid():
        services.request_pool(Actor.of(request), template_id, form.cleaned_data["pool_size"])
        sentence = _("%(name)s: %(n)s clones wait on each node.")
        return answer(request, sentence % {"name": found.name, "n": form.cleaned_data["pool_size"]})
    return refused(request, Refusal(str(next(iter(form.errors.values()))[0]), "invalid"))


@page
def retire(request: HttpRequest, template_id: UUID) -> HttpResponseBase:
    """Ask, then take the template away."""
    found = queries.get_template_for(reader(request), template_id, Verb.CHANGE)
    if request.method != "POST":
        back = reverse("sandboxes:template", args=[template_id])
        context = {"template": found, "heading": found.name, "back": back}
        return ask(request, "sandboxes/ask_retire.html", context)
    try:
        services.request_retire(Actor.of(request), template_id)
    except Refusal as refusal:
        return refused(request, refusal)
    return answer(
        request, _("%(name)s is no longer offered.") % {"name": found.name}, go=reverse("sandboxes:templates")
    )


@page
def screen(request: HttpRequest, build_id: UUID) -> HttpResponseBase:
    """The last screen of a builder that failed, for those who may change its template."""
    build = TemplateBuild.objects.select_related("template").filter(pk=build_id).first()
    if build is None:
        raise NotVisible
    queries.get_template_for(reader(request), build.template_id, Verb.CHANGE)
    if build.screenshot is None:
        raise Http404
    return HttpResponse(bytes(build.screenshot), content_type="image/png")
