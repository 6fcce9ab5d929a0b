"""Setting limits: the form, then what the change does, then the change itself."""

import hashlib
import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts import services
from accounts.access import get_project_for
from accounts.actor import Actor
from accounts.dimensions import Dimension
from accounts.door import page, reader, staff_only
from accounts.forms import LimitsForm
from accounts.models import AuditEntry, Project, User
from accounts.refusals import BadInput, NotVisible

from .. import quotas
from ..presenting.gauges import gauges
from ..presenting.limits import Limits, effects

STEP = "step"


@page
@staff_only
def limits(request: HttpRequest, project_id: UUID) -> HttpResponseBase:
    """Limits of a project, or with `?member=` of one member in it: asked, shown with their effect, then set."""
    project = get_project_for(reader(request), project_id)
    member = _member(project, request.GET.get("member", ""))
    now = _now(project, member)
    form = LimitsForm(request.POST or None, initial={**now, "seen": _print_of(now)})
    context = {"project": project, "member": member, "form": form, **_context(project, member, now)}
    if request.method != "POST" or not form.is_valid():
        return render(request, "desk/limits.html", context, status=422 if form.errors else 200)
    found = effects(now, form.limits, quotas.usage(project, member))
    if form.cleaned_data["seen"] != _print_of(now):
        messages.error(request, _overtaken(project))
        return redirect(request.get_full_path())
    if not found:
        form.add_error(None, _("These are the limits already. Nothing was changed."))
        return render(request, "desk/limits.html", context, status=422)
    if request.POST.get(STEP) == "confirm":
        return _set(request, project, member, {effect.dimension: form.limits[effect.dimension] for effect in found})
    if request.POST.get(STEP) == "back":
        return render(request, "desk/limits.html", context)
    return render(request, "desk/limits_confirm.html", {**context, "effects": found})


def _member(project: Project, username: str) -> User | None:
    if not username:
        return None
    found = project.members.filter(username=username).first()
    if found is None:
        raise NotVisible
    return found


def _now(project: Project, member: User | None) -> dict[str, int | None]:
    """Return the limits as they stand; a member without own ones has no limit within the project."""
    of_project, of_members = quotas.limits_of([project])[project.pk]
    found: Limits = of_members.get(member.username, {}) if member else of_project
    return {dimension.value: found.get(dimension.value) for dimension in Dimension}


def _print_of(found: Limits) -> str:
    """Return what tells these limits from others, so that two people do not overwrite each other unseen."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def _context(project: Project, member: User | None, now: Limits) -> dict[str, Any]:
    usage = quotas.usage(project, member)
    _own, of_members = quotas.limits_of([project])[project.pk]
    crumbs = [{"label": _("Projects"), "href": reverse("desk:projects")}, {"label": project.name}]
    if member:
        crumbs[-1]["href"] = reverse("desk:limits", args=[project.pk])
        crumbs.append({"label": member.username})
    return {
        "gauges": gauges(usage, now, Dimension.values),
        "usage": usage,
        "members": [
            {"name": name, "limited": name in of_members}
            for name in project.members.order_by("username").values_list("username", flat=True)
        ],
        "crumbs": crumbs,
    }


def _overtaken(project: Project) -> str:
    last = AuditEntry.objects.filter(action="quota.set", target_id=project.pk).first()
    who = last.actor_name if last else _("Somebody")
    return _("%(who)s has set these limits meanwhile. Your decision was not applied.") % {"who": who}


def _set(request: HttpRequest, project: Project, member: User | None, changes: Limits) -> HttpResponseBase:
    try:
        if member:
            services.set_limits(Actor.of(request), project, {}, {member.username: changes})
        else:
            services.set_limits(Actor.of(request), project, changes)
    except BadInput as refusal:
        messages.error(request, " ".join(str(s) for found in refusal.fields.values() for s in found))
    else:
        messages.success(request, _("Limits of %(name)s set.") % {"name": member.username if member else project.name})
    return redirect("desk:limits", project.pk)
