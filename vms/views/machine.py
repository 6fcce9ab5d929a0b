"""One machine: its page, its power buttons, and the questions before what cannot be undone."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.access import Verb
from accounts.actor import Actor
from accounts.door import act, answer, ask, page, reader, refused
from accounts.refusals import BadInput, Refusal

from .. import services
from ..forms import ConfirmNameForm, EditForm, ResizeForm, offered_flavors
from ..models import VirtualMachine
from ..presenting.fragments import machine_context
from ..presenting.sentences import ASKED
from ..presenting.verbs import POWER
from ..queries import get_vm_for
from ..states import OperationKind, Role

REQUESTS = {
    OperationKind.START: services.request_start,
    OperationKind.STOP: services.request_stop,
    OperationKind.REBOOT: services.request_reboot,
    OperationKind.PAUSE: services.request_pause,
    OperationKind.RESUME: services.request_resume,
    OperationKind.FORCE_OFF: services.request_force_off,
}


@page
def machine(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """The page of one machine; a sandbox has its own."""
    vm = get_vm_for(reader(request), vm_id)
    if vm.role == Role.SANDBOX:
        return redirect("sandboxes:detail", vm.pk)
    crumbs = [{"label": _("Machines"), "href": reverse("vms:list")}, {"label": vm.name}]
    return render(request, "vms/machine.html", {**machine_context(reader(request), vm), "crumbs": crumbs})


def asked(vm: VirtualMachine, kind: str) -> str:
    """Say that a wish was taken."""
    return str(ASKED[kind]) % {"name": vm.name, "seconds": int(settings.STOP_WAIT.total_seconds())}


@act
def power(request: HttpRequest, vm_id: UUID, verb: str) -> HttpResponseBase:
    """Press a power button."""
    if verb not in POWER:
        raise Http404
    vm, begun = REQUESTS[OperationKind(POWER[verb])](Actor.of(request), vm_id)
    return answer(request, asked(vm, POWER[verb]), operation=begun.pk)


@act
def cancel(request: HttpRequest, operation_id: UUID) -> HttpResponseBase:
    """Stop what is under way."""
    operation = services.request_cancel(Actor.of(request), operation_id)
    said = _("Cancelling, for %(name)s.") % {"name": operation.vm_name}
    return answer(request, said, operation=operation.pk)


@act
def again(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Try a failed create again."""
    vm, begun = services.request_create_again(Actor.of(request), vm_id)
    return answer(request, _("Trying again to create %(name)s.") % {"name": vm.name}, operation=begun.pk)


def _ask(request: HttpRequest, template: str, vm: VirtualMachine, status: int = 200, **context: Any) -> HttpResponse:
    return ask(request, template, context | {"vm": vm, "back": reverse("vms:detail", args=[vm.pk])}, status)


@page
def force_off(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Ask before the plug is pulled, then pull it."""
    if request.method == "POST":
        return power(request, vm_id, "force-off")
    vm = get_vm_for(reader(request), vm_id, Verb.CHANGE)
    return _ask(request, "vms/ask_force_off.html", vm)


@page
def delete(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Ask for the name before everything of the machine is lost, then delete it."""
    vm = get_vm_for(reader(request), vm_id, Verb.CHANGE)
    form = ConfirmNameForm(request.POST or None, vm=vm)
    if request.method != "POST":
        return _ask(request, "vms/ask_delete.html", vm, form=form)
    if not form.is_valid():
        return _ask(request, "vms/ask_delete.html", vm, 422, form=form)
    try:
        begun = services.request_delete(Actor.of(request), vm_id)
    except Refusal as refusal:
        return refused(request, refusal)
    return answer(request, asked(vm, OperationKind.DELETE), operation=begun.pk)


@page
def edit(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Change name and description."""
    vm = get_vm_for(reader(request), vm_id, Verb.CHANGE)
    form = EditForm(request.POST or None, initial={"name": vm.name, "description": vm.description})
    if request.method != "POST":
        return _ask(request, "vms/ask_edit.html", vm, form=form)
    try:
        if form.is_valid():
            vm = services.request_rename(Actor.of(request), vm_id, **form.cleaned_data)
            return answer(request, _("Saved: %(name)s.") % {"name": vm.name})
    except BadInput as refusal:
        form.take(refusal)
    except Refusal as refusal:
        return refused(request, refusal)
    return _ask(request, "vms/ask_edit.html", vm, 422, form=form)


@page
def resize(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Change the size of a machine that is off."""
    vm = get_vm_for(reader(request), vm_id, Verb.CHANGE)
    form = ResizeForm(request.POST or None, initial={"flavor": vm.flavor.name})
    context: dict[str, Any] = {"form": form, "flavors": offered_flavors()}
    if request.method != "POST":
        return _ask(request, "vms/ask_resize.html", vm, **context)
    try:
        if form.is_valid():
            vm, begun = services.request_resize(Actor.of(request), vm_id, form.cleaned_data["flavor"])
            return answer(request, asked(vm, OperationKind.RESIZE), operation=begun.pk)
    except BadInput as refusal:
        form.take(refusal)
    except Refusal as refusal:
        form.add_error(None, str(refusal.detail))
    return _ask(request, "vms/ask_resize.html", vm, 422, **context)
