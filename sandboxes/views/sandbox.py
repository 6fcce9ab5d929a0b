"""One sandbox: its page, what is pressed at once, and the questions before what costs something."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.access import Verb
from accounts.actor import Actor
from accounts.dimensions import Dimension
from accounts.door import act, answer, ask, page, reader, refused
from accounts.refusals import BadInput, QuotaExceeded, Refusal
from vms import quotas
from vms.presenting.gauges import gauges
from vms.presenting.shortages import shortfall

from .. import services
from ..forms import RunForm
from ..models import Sandbox
from ..presenting.fragments import body_context
from ..presenting.leases import LeaseView, duration
from ..queries import get_sandbox_for
from ..states import LeaseStatus


@page
def sandbox(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """The page of one sandbox."""
    found = get_sandbox_for(reader(request), vm_id)
    context = body_context(reader(request), found.vm)
    crumbs = [{"label": _("Sandboxes"), "href": reverse("sandboxes:list")}, {"label": found.vm.name}]
    return render(request, "sandboxes/detail.html", context | {"crumbs": crumbs, "run_form": RunForm()})


def _extend(actor: Actor, vm_id: UUID) -> str:
    seen = get_sandbox_for(actor.who, vm_id, Verb.CHANGE)
    minutes = LeaseView(seen, timezone.now()).extension
    found = services.request_extend(actor, vm_id, minutes)
    return _("%(name)s lives %(time)s longer.") % {"name": found.vm.name, "time": duration(minutes)}


def _pause(actor: Actor, vm_id: UUID) -> str:
    found, _operation = services.request_pause(actor, vm_id)
    return _("%(name)s is being paused to disk. Its clock stands still.") % {"name": found.vm.name}


def _resume(actor: Actor, vm_id: UUID) -> str:
    stood_still = get_sandbox_for(actor.who, vm_id, Verb.CHANGE).lease_status == LeaseStatus.PAUSED
    found, _operation = services.request_resume(actor, vm_id)
    if not stood_still:
        return _("%(name)s is being switched on.") % {"name": found.vm.name}
    return _("%(name)s goes on, and so does its clock.") % {"name": found.vm.name}


def _restore(actor: Actor, vm_id: UUID) -> str:
    found, _operation = services.request_restore(actor, vm_id)
    return _("%(name)s is yours again, for %(time)s.") % {
        "name": found.vm.name, "time": duration(found.lease_minutes),
    }  # fmt: skip


ACTS: dict[str, Callable[[Actor, UUID], str]] = {
    "extend": _extend,
    "pause": _pause,
    "resume": _resume,
    "restore": _restore,
}


@act
def act_on(request: HttpRequest, vm_id: UUID, verb: str) -> HttpResponseBase:
    """Press a button that asks nothing first."""
    if verb not in ACTS:
        raise Http404
    try:
        return answer(request, ACTS[verb](Actor.of(request), vm_id))
    except BadInput as bad:
        sentence = next(iter(bad.fields.values()))[0]
        return refused(request, Refusal(sentence, bad.code))


def _ask(request: HttpRequest, name: str, found: Sandbox, status: int = 200, **context: Any) -> HttpResponse:
    context |= {"sandbox": found, "vm": found.vm, "back": reverse("sandboxes:detail", args=[found.vm_id])}
    return ask(request, f"sandboxes/ask_{name}.html", context, status)


@page
def reset(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Ask, then put it back to its clean state."""
    found = get_sandbox_for(reader(request), vm_id, Verb.CHANGE)
    if request.method != "POST":
        return _ask(request, "reset", found)
    try:
        _sandbox, begun = services.request_reset(Actor.of(request), vm_id)
    except Refusal as refusal:
        return refused(request, refusal)
    said = _("%(name)s is being put back to its clean state.") % {"name": found.vm.name}
    return answer(request, said, operation=begun.pk)


@page
def keep(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Show what keeping it takes of the quota, then make it an ordinary machine."""
    found = get_sandbox_for(reader(request), vm_id, Verb.CHANGE)
    project = found.vm.project
    if request.method != "POST":
        usage, limits = quotas.usage(project), quotas.limits(project)
        after = usage | {Dimension.VMS: usage[Dimension.VMS] + 1}
        fits = limits[Dimension.VMS] is None or after[Dimension.VMS] <= (limits[Dimension.VMS] or 0)
        return _ask(request, "keep", found, gauges=gauges(after, limits, (Dimension.VMS,)), fits=fits)
    try:
        vm = services.request_keep(Actor.of(request), vm_id)
    except QuotaExceeded as refusal:
        short = shortfall(refusal.extra["quota"], project.name, found.vm.created_by.username)
        return _ask(request, "keep", found, 422, shortfall=short)
    except Refusal as refusal:
        return refused(request, refusal)
    return answer(
        request, _("%(name)s is an ordinary machine now.") % {"name": vm.name}, go=reverse("vms:detail", args=[vm.pk])
    )


@page
def delete(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Ask, then delete it."""
    found = get_sandbox_for(reader(request), vm_id, Verb.CHANGE)
    if request.method != "POST":
        return _ask(request, "delete", found)
    try:
        begun = services.request_delete(Actor.of(request), vm_id)
    except Refusal as refusal:
        return refused(request, refusal)
    said = _("%(name)s is being deleted.") % {"name": found.vm.name}
    return answer(request, said, go=reverse("sandboxes:list"), operation=begun.pk)
