"""Machines as markup, for pages and for the push: one template each, so that both always look the same."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.template.loader import render_to_string
from django.utils import timezone

from accounts.models import Membership, User

from ..models import Operation, VirtualMachine
from ..queries import get_vm_for
from ..states import OperationStatus
from .cards import VmCard, card
from .operations import OperationCard

SHOWN_ACTIVITY = 20
_TYPICAL_OF = 20
_TYPICAL_WITHIN = timedelta(days=7)
TEMPLATES = {
    "row": "vms/row.html",
    "tile": "vms/tile.html",
    "machine": "vms/machine_body.html",
    "console": "vms/console_state.html",
    "operation": "vms/operation_body.html",
}
Fill = Callable[[User, VirtualMachine], dict[str, Any]]
_FILLS: dict[str, Fill] = {}


def offer(kind: str, template: str, fill: Fill) -> None:
    """Let pages of another app be pushed too: a kind, its template, and what fills that for a reader.

    `fill` raises NotVisible for a machine that is no longer of its kind.
    """
    TEMPLATES[kind] = template
    _FILLS[kind] = fill


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a page and the id of the element that it replaces."""

    target: str
    html: str


def roles_of(user: User) -> dict[UUID, str]:
    """Return the reader's role in each of their projects."""
    return dict(Membership.objects.filter(user=user).values_list("project_id", "role"))


def cards_for(user: User, vms: Iterable[VirtualMachine]) -> list[VmCard]:
    """Return machines as this reader sees them; they come from `queries.with_details`. One query for all."""
    roles, now = roles_of(user), timezone.now()
    return [_card(user, vm, roles.get(vm.project_id), now) for vm in vms]


def _card(user: User, vm: VirtualMachine, role: str | None, now: Any = None) -> VmCard:
    lives: list[Operation] = vm.live_operations  # type: ignore[attr-defined]
    live = lives[0] if lives else None
    if live is not None:
        live.node = vm.node  # the same row: saves a query for each machine
    return card(vm, live=live, role=role, is_staff=user.is_staff, now=now)


def machine_context(user: User, vm: VirtualMachine) -> dict[str, Any]:
    """Return what one machine's page shows."""
    role = roles_of(user).get(vm.project_id)
    past = list(
        Operation.objects.filter(vm=vm).select_related("actor", "node").order_by("-created_at")[:SHOWN_ACTIVITY]
    )
    last = past[0] if past else None
    lives: list[Operation] = vm.live_operations  # type: ignore[attr-defined]
    live = next((row for row in past if lives and row.pk == lives[0].pk), lives[0] if lives else None)
    shown = card(
        vm,
        live=live,
        failed=last if last and last.status == OperationStatus.FAILED else None,
        role=role,
        is_staff=user.is_staff,
    )
    return {
        "card": shown,
        "user": user,
        "activity": [OperationCard(row) for row in past],
        "typical": typical_seconds(live.kind) if live else None,
    }


def typical_seconds(kind: str) -> float | None:
    """Return how long such an operation usually took lately (the median), or None without experience."""
    recent = (
        Operation.objects.filter(
            kind=kind, status=OperationStatus.SUCCEEDED, created_at__gt=timezone.now() - _TYPICAL_WITHIN
        )
        .order_by("-created_at")
        .values_list("created_at", "finished_at")[:_TYPICAL_OF]
    )
    took = sorted((end - start).total_seconds() for start, end in recent if end)
    return took[len(took) // 2] if took else None


def render(kind: str, user: User, vm_id: UUID | str, **context: Any) -> Fragment:
    """Return a machine's fragment for this reader; NotVisible once it is gone or no longer theirs to see."""
    vm = get_vm_for(user, vm_id)
    if kind in _FILLS:
        context |= _FILLS[kind](user, vm)
    elif kind == "machine":
        context |= machine_context(user, vm)
    else:
        context["card"] = cards_for(user, [vm])[0]
    return Fragment(f"{kind}-{vm.pk}", render_to_string(TEMPLATES[kind], context))
