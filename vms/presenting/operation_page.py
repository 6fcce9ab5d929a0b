"""The page of one operation: how far it came, why it ended, and what can be done about it. It outlives its machine."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from accounts.access import Verb, allows
from accounts.models import User
from accounts.refusals import NotVisible

from ..models import Operation
from ..queries import get_operation_for, get_vm_for
from ..states import MAKING, OperationKind, OperationStatus, Role
from .cards import VmCard
from .fragments import TEMPLATES, Fragment, cards_for, roles_of, typical_seconds
from .operations import OperationCard
from .outcomes import way_out
from .verbs import POWER, Button, cancel_button, delete_button, power_button

# what another app offers for an operation of its own kind that has failed; None: not one of its own
Offer = Callable[[User, Operation, VmCard | None], list[Button] | None]
OFFERS: list[Offer] = []


@dataclass(frozen=True, slots=True)
class OperationView:
    """An operation for one reader. `machine` is None once it has gone; `since` is what was asked of it afterwards."""

    card: OperationCard
    machine: VmCard | None
    since: OperationCard | None
    acts: list[Button]
    typical: float | None

    @property
    def machine_href(self) -> str:
        """Where the machine is shown."""
        if self.machine is None:
            return ""
        return reverse("sandboxes:detail" if self.of_a_sandbox else "vms:detail", args=[self.machine.vm.pk])

    @property
    def of_a_sandbox(self) -> bool:
        """Is its machine a sandbox?"""
        return self.machine is not None and self.machine.vm.role == Role.SANDBOX

    @property
    def version(self) -> int:
        """The version of the machine that was shown."""
        return self.machine.vm.version if self.machine else 0

    @property
    def status(self) -> str | Promise:
        """Its status in a word."""
        return OperationStatus(self.card.operation.status).label

    @property
    def reason(self) -> str | Promise:
        """Why it ended without its result, in a sentence; "" where it did not."""
        row = self.card.operation
        if row.status not in (OperationStatus.FAILED, OperationStatus.CANCELLED):
            return ""
        return row.error_detail or (_("Cancelled by a person.") if row.error_code == "cancelled" else self.card.title)

    @property
    def way_out(self) -> str | Promise:
        """What to do about it. A machine that is no more needs nothing."""
        if not self.reason:
            return ""
        gone = self.machine is None and self.card.operation.kind != OperationKind.PREPARE
        return way_out("vm_gone" if gone else self.card.operation.error_code)

    @property
    def tried_again_at(self) -> datetime | None:
        """When an attempt that failed is followed by the next one."""
        row = self.card.operation
        waits = row.status == OperationStatus.PENDING and row.not_before and row.not_before > timezone.now()
        return row.not_before if waits else None


def operation_view(user: User, operation: Operation) -> OperationView:
    """Return an operation that this reader may see. A constant number of queries."""
    machine = _machine(user, operation)
    newest = Operation.objects.filter(vm=operation.vm_id).select_related("node").order_by("-created_at", "-id").first()
    since = newest if newest is not None and newest.pk != operation.pk else None
    return OperationView(
        card=OperationCard(operation),
        machine=machine,
        since=OperationCard(since) if since else None,
        acts=_acts(user, operation, machine, newest=since is None),
        typical=typical_seconds(operation.kind) if operation.is_live else None,
    )


def _machine(user: User, operation: Operation) -> VmCard | None:
    try:
        return cards_for(user, [get_vm_for(user, operation.machine_id)])[0]
    except NotVisible:
        return None


def _acts(user: User, operation: Operation, machine: VmCard | None, *, newest: bool) -> list[Button]:
    """Return what makes sense now: stop it while it is under way, try it again or clean up after it failed."""
    role = roles_of(user).get(operation.project_id)
    if not allows(role, Verb.CHANGE, user.is_staff):
        return []
    if operation.is_live:
        return [cancel_button(operation.pk)] if OperationCard(operation).may_cancel else []
    overtaken = not newest and operation.kind != OperationKind.PREPARE  # what a template was made from is deleted
    if operation.status == OperationStatus.SUCCEEDED or overtaken:
        return []
    for offer in OFFERS:
        found = offer(user, operation, machine)
        if found is not None:
            return found
    return _for_a_machine(operation.kind, machine) if machine else []


def _for_a_machine(kind: str, machine: VmCard) -> list[Button]:
    if machine.retry:  # a create or a delete that stopped half-way
        clean = [delete_button(machine.vm.pk, _("Clean up"))] if kind in MAKING else []
        return [machine.retry, *clean]
    found = [again] if (again := again_of(kind, machine)) else []
    if kind in (OperationKind.STOP, OperationKind.REBOOT) and OperationKind.FORCE_OFF in machine.verbs:
        url = reverse("vms:force-off", args=[machine.vm.pk])
        found.append(Button(url, _("Force off"), "power", dialog=True, bad=True))
    elif kind in MAKING and OperationKind.DELETE in machine.verbs:
        found.append(delete_button(machine.vm.pk, _("Clean up")))
    return found


def again_of(kind: str, machine: VmCard) -> Button | None:
    """Return the button that asks for the same verb again, where the machine's state allows it."""
    if kind not in machine.verbs:
        return None
    label = _("Try again")
    if kind == OperationKind.FORCE_OFF:
        return Button(reverse("vms:force-off", args=[machine.vm.pk]), label, "refresh", dialog=True)
    if kind == OperationKind.RESIZE:
        return Button(reverse("vms:resize", args=[machine.vm.pk]), label, "refresh", dialog=True)
    return power_button(machine.vm.pk, kind, label, "refresh", loud=True) if kind in POWER.values() else None


def operation_context(user: User, operation_id: UUID | str) -> dict[str, Any]:
    """Return what the page of one operation shows; NotVisible."""
    return {"view": operation_view(user, get_operation_for(user, operation_id)), "user": user}


def render_operation(user: User, operation_id: UUID | str) -> Fragment:
    """Return the page's fragment for this reader; NotVisible once it is no longer theirs to see."""
    html = render_to_string(TEMPLATES["operation"], operation_context(user, operation_id))
    return Fragment(f"operation-{operation_id}", html)
