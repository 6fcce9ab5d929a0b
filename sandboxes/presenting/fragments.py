"""Sandboxes as markup, for pages and for the push alike: a row of the list, and the page of one."""

from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.models import User
from accounts.refusals import NotVisible
from vms.models import Operation, VirtualMachine
from vms.presenting.fragments import machine_context, offer
from vms.states import OperationKind, Role

from ..isolation import checks
from ..models import Run, Sandbox
from .cards import SandboxCard, sandbox_cards
from .runs import RunView, size

SHOWN_RUNS = 8
NAMING = (OperationKind.CLAIM, OperationKind.CLONE, OperationKind.RESET)


def offer_fragments() -> None:
    """Let the push know them."""
    offer("lease", "sandboxes/row.html", row_context)
    offer("sandbox", "sandboxes/body.html", body_context)


def _sandbox_of(vm: VirtualMachine) -> Sandbox:
    sandbox = Sandbox.objects.select_related("template", "build").defer("build__screenshot").filter(vm=vm).first()
    if sandbox is None or vm.role != Role.SANDBOX:
        raise NotVisible
    sandbox.vm = vm
    return sandbox


def _ready_seconds(sandbox: Sandbox, named: Operation | None) -> float | None:
    """Return how long the sandbox took from the wish to an identity of its own, or None where that is not known."""
    if named is None or sandbox.named_at is None or sandbox.named_at < named.created_at:
        return None
    return (sandbox.named_at - named.created_at).total_seconds()


def row_context(user: User, vm: VirtualMachine) -> dict[str, Any]:
    """Return what a row of the list shows."""
    [card] = sandbox_cards(user, [_sandbox_of(vm)], timezone.now())
    return {"sandbox": card, "card": card.card}


def body_context(user: User, vm: VirtualMachine) -> dict[str, Any]:
    """Return what the page of one sandbox shows."""
    sandbox = _sandbox_of(vm)
    machine = machine_context(user, vm)
    runs = list(Run.objects.filter(vm=vm).defer("stdin").order_by("-created_at")[:SHOWN_RUNS])
    live = next((run for run in runs if run.is_live), None)
    check = checks(vm).first()
    named = next((past.operation for past in machine["activity"] if past.operation.kind in NAMING), None)
    return machine | {
        "sandbox": SandboxCard(sandbox, machine["card"], live, timezone.now()),
        "ready_seconds": _ready_seconds(sandbox, named),
        "runs": [RunView(run) for run in runs],
        "live_run": RunView(live) if live else None,
        "check": check,
        "files_at_most": size(settings.FILES_AT_MOST_BYTES),
        "check_view": RunView(check) if check else None,
    }
