"""Projects: which are mine, and who belongs to each."""

from uuid import UUID

from django.db.models import Count
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from .. import services
from ..access import Verb, allows, get_project_for, role_in
from ..actor import Actor
from ..door import act, answer, ask, page, reader
from ..forms import MemberForm
from ..models import Membership, Project, Role
from ..refusals import BadInput, NotVisible


@page
def projects(request: HttpRequest) -> HttpResponseBase:
    """One's own projects, the personal one first."""
    user = reader(request)
    memberships = (
        Membership.objects.filter(user=user)
        .select_related("project")
        .annotate(people=Count("project__memberships"))
        .order_by("project__name")
    )
    mine = sorted(memberships, key=lambda found: found.project.personal_of_id != user.pk)
    return render(request, "accounts/projects.html", {"memberships": mine})


@page
def project(request: HttpRequest, project_id: UUID) -> HttpResponseBase:
    """The members of a project; its owners and staff add, change and remove them."""
    found = get_project_for(reader(request), project_id)
    form = MemberForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        wanted = form.cleaned_data
        try:
            member = services.set_membership(Actor.of(request), found, wanted["username"], wanted["role"])
        except BadInput as refusal:
            form.take(refusal)
        else:
            said = _("%(name)s is now %(role)s of %(project)s.") % _words(member)
            return answer(request, said, go=_address(found))
    return render(request, "accounts/project.html", _context(request, found, form), status=422 if form.errors else 200)


def _context(request: HttpRequest, found: Project, form: MemberForm) -> dict[str, object]:
    user = reader(request)
    role = role_in(user, found.pk)
    members = Membership.objects.filter(project=found).select_related("user").order_by("role", "user__username")
    order = {Role.OWNER: 0, Role.MEMBER: 1, Role.VIEWER: 2}
    owners = sum(member.role == Role.OWNER for member in members)
    return {
        "project": found,
        "form": form,
        "members": sorted(members, key=lambda member: order[Role(member.role)]),
        "one_owner": owners == 1,
        "roles": Role.choices,
        "role": Role(role).label if role else "",
        "may_manage": allows(role, Verb.MANAGE, user.is_staff),
        "crumbs": [{"label": _("Projects"), "href": reverse("accounts:projects")}, {"label": found.name}],
    }


def _words(member: Membership) -> dict[str, str]:
    return {
        "name": member.user.username,
        "role": str(Role(member.role).label).lower(),
        "project": member.project.name,
    }


def _address(found: Project) -> str:
    return reverse("accounts:project", args=[found.pk])


def _member(request: HttpRequest, project_id: UUID, user_id: UUID) -> Membership:
    """Return the membership that somebody who may manage the project names."""
    found = get_project_for(reader(request), project_id, Verb.MANAGE)
    member = Membership.objects.filter(project=found, user=user_id).select_related("user", "project").first()
    if member is None:
        raise NotVisible
    return member


@act
def set_role(request: HttpRequest, project_id: UUID, user_id: UUID) -> HttpResponseBase:
    """Give a member another role."""
    member = _member(request, project_id, user_id)
    member = services.set_membership(
        Actor.of(request), member.project, member.user.username, request.POST.get("role", "")
    )
    said = _("%(name)s is now %(role)s of %(project)s.") % _words(member)
    return answer(request, said, go=_address(member.project))


@page
def remove(request: HttpRequest, project_id: UUID, user_id: UUID) -> HttpResponseBase:
    """Ask, then remove a member; their open consoles of this project end within seconds."""
    member = _member(request, project_id, user_id)
    if request.method == "POST":
        services.remove_membership(Actor.of(request), member.project, user_id)
        said = _("%(name)s is no longer in %(project)s.") % _words(member)
        left = user_id == reader(request).pk and not reader(request).is_staff
        return answer(request, said, go=reverse("accounts:projects") if left else _address(member.project))
    context = {"member": member, "heading": member.user.username, "back": _address(member.project)}
    return ask(request, "accounts/ask_remove.html", context)
