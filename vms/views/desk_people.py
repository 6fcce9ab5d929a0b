"""The desk's view of people, their projects and quotas."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters

from accounts import services
from accounts.actor import Actor
from accounts.door import act, answer, ask, page, reader, staff_only
from accounts.forms import NewPersonForm, NewProjectForm
from accounts.models import ApiToken, Membership, User
from accounts.people import list_people, list_projects, members_of
from accounts.refusals import BadInput, Forbidden, NotVisible

from .. import overview, quotas
from ..presenting.gauges import gauges, tightest
from .desk_fleet import pages


@page
@staff_only
def people(request: HttpRequest) -> HttpResponseBase:
    """Everyone who has an account."""
    search = request.GET.get("q", "")[:100]
    try:
        found = list_people(search, request.GET.get("cursor", ""))
    except BadInput:
        return redirect(request.path)
    machines = overview.machines_by_person(found.items)
    rows = [{"person": person, "machines": machines.get(person.pk, (0, 0))} for person in found.items]
    return render(request, "desk/people.html", {"rows": rows, "search": search, "page": pages(request, found, "q")})


@page
@staff_only
def projects(request: HttpRequest) -> HttpResponseBase:
    """Every project with what it uses of its quota."""
    search = request.GET.get("q", "")[:100]
    try:
        found = list_projects(search, request.GET.get("cursor", ""))
    except BadInput:
        return redirect(request.path)
    usage, limits, members = (
        quotas.usage_by_project(found.items),
        quotas.limits_of(found.items),
        members_of(found.items),
    )
    rows = []
    for project in found.items:
        shown = gauges(usage[project.pk], limits[project.pk][0])
        row = {"project": project, "members": members.get(project.pk, 0), "gauges": shown, "tightest": tightest(shown)}
        rows.append(row)
    return render(request, "desk/projects.html", {"rows": rows, "search": search, "page": pages(request, found, "q")})


@sensitive_post_parameters("password")
@page
@staff_only
def new_person(request: HttpRequest) -> HttpResponseBase:
    """Make an account for somebody."""
    form = NewPersonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.create_user(Actor.of(request), **form.cleaned_data)
        except BadInput as refusal:
            form.take(refusal)
        else:
            said = _("%(name)s can sign in now.") % {"name": made.username}
            return answer(request, said, go=reverse("desk:person", args=[made.pk]))
    context = {"form": form, "crumbs": _crumbs(_("New person"))}
    return render(request, "desk/new_person.html", context, status=422 if form.errors else 200)


@page
@staff_only
def new_project(request: HttpRequest) -> HttpResponseBase:
    """Make a project that people share."""
    form = NewProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.create_project(Actor.of(request), **form.cleaned_data)
        except BadInput as refusal:
            form.take(refusal)
        else:
            said = _("%(name)s is ready.") % {"name": made.name}
            return answer(request, said, go=reverse("desk:limits", args=[made.pk]))
    crumbs = [{"label": _("Projects"), "href": reverse("desk:projects")}, {"label": _("New project")}]
    context = {"form": form, "crumbs": crumbs}
    return render(request, "desk/new_project.html", context, status=422 if form.errors else 200)


def _crumbs(last: str) -> list[dict[str, str]]:
    return [{"label": _("People"), "href": reverse("desk:people")}, {"label": last}]


def _person(user_id: UUID) -> User:
    found = User.objects.select_related("personal_project").filter(pk=user_id).first()
    if found is None:
        raise NotVisible
    return found


@page
@staff_only
def person(request: HttpRequest, user_id: UUID) -> HttpResponseBase:
    """One person: their projects with quotas, and the way in and out."""
    found = _person(user_id)
    memberships = list(Membership.objects.filter(user=found).select_related("project").order_by("project__name"))
    mine = [membership.project for membership in memberships]
    usage, limits = quotas.usage_by_project(mine), quotas.limits_of(mine)
    context: dict[str, Any] = {
        "person": found,
        "machines": overview.machines_by_person([found]).get(found.pk, (0, 0)),
        "tokens": ApiToken.objects.filter(user=found, revoked_at=None).count(),
        "rows": [
            {
                "membership": membership,
                "own_limits": found.username in limits[membership.project_id][1],
                "gauges": gauges(usage[membership.project_id], limits[membership.project_id][0]),
            }
            for membership in sorted(memberships, key=lambda m: m.project.personal_of_id != found.pk)
        ],
        "is_self": found.pk == reader(request).pk,
        "crumbs": _crumbs(found.username),
    }
    return render(request, "desk/person.html", context)


@page
@staff_only
def shut_out(request: HttpRequest, user_id: UUID) -> HttpResponseBase:
    """Ask, then shut somebody out at once. Nobody shuts themselves out."""
    found = _person(user_id)
    back = reverse("desk:person", args=[found.pk])
    if found.pk == reader(request).pk:
        raise Forbidden(_("You cannot shut yourself out: nobody might be left to let you in."))
    if request.method == "POST":
        services.deactivate_user(Actor.of(request), found)
        return answer(request, _("%(name)s is shut out.") % {"name": found.username}, go=back)
    machines = overview.machines_by_person([found]).get(found.pk, (0, 0))
    context = {"person": found, "machines": machines, "heading": found.username, "back": back}
    return ask(request, "desk/ask_shut_out.html", context)


@act
@staff_only
def let_in(request: HttpRequest, user_id: UUID) -> HttpResponseBase:
    """Let somebody in again."""
    found = _person(user_id)
    services.reactivate_user(Actor.of(request), found)
    said = _("%(name)s can sign in again. Tokens stay revoked.") % {"name": found.username}
    return answer(request, said, go=reverse("desk:person", args=[found.pk]))
