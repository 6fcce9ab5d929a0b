"""What can be done about an operation of a sandbox or of a template that failed."""

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from vms.models import Operation
from vms.presenting.cards import VmCard
from vms.presenting.operation_page import again_of
from vms.presenting.verbs import Button
from vms.states import MAKING, OperationKind, Role, Status

from ..models import Sandbox, TemplateBuild
from ..states import GOING_ON
from .cards import SandboxCard

_DELETES = (Status.ERROR, Status.ABSENT)


def acts_of(user: User, operation: Operation, machine: VmCard | None) -> list[Button] | None:
    """Return the buttons of an operation of ours, None where it is not: see `vms.presenting.operation_page.OFFERS`."""
    if operation.kind == OperationKind.PREPARE:
        return _prepare_again(operation)
    if machine is None or machine.vm.role != Role.SANDBOX:
        return None
    sandbox = Sandbox.objects.select_related("template").filter(vm=machine.vm).first()
    if sandbox is None:
        return None
    sandbox.vm = machine.vm
    card = SandboxCard(sandbox, machine, None, timezone.now())
    found = _again(operation.kind, card)
    delete = reverse("sandboxes:delete", args=[card.vm.pk])
    if operation.kind == OperationKind.DELETE and not card.busy:
        return [Button(delete, _("Delete again"), "trash", dialog=True, bad=True)]
    if operation.kind in MAKING and card.card.status in _DELETES:
        found.append(Button(delete, _("Clean up"), "trash", dialog=True, bad=True))
    return found


def _prepare_again(operation: Operation) -> list[Button]:
    build = TemplateBuild.objects.filter(operation_id=operation.pk).defer("screenshot").first()
    if build is None:
        return []
    of_template = TemplateBuild.objects.filter(template=build.template_id, node=build.node_id)
    if of_template.filter(created_at__gt=build.created_at).exists():
        return []  # it was prepared again
    return [Button(reverse("sandboxes:prepare", args=[build.template_id]), _("Try again"), "refresh", loud=True)]


def _again(kind: str, card: SandboxCard) -> list[Button]:
    """Return the verb that was not carried out as the sandbox offers it now; its lease decides which."""
    if kind == OperationKind.RESET:
        same = card.reset
    elif kind == OperationKind.SUSPEND:
        same = card.pause
    elif kind in GOING_ON:
        main = card.main_verb
        same = main if main and not (card.extend and main.url == card.extend.url) else None
    else:
        same = again_of(kind, card.card)
    return [Button(same.url, _("Try again"), "refresh", dialog=same.dialog, loud=not same.dialog)] if same else []
