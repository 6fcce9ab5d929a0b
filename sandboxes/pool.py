"""The warm pool: clones that are ready and paused, and how one of them becomes somebody's sandbox."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from accounts.models import Project, User
from vms.models import Node, Operation, VirtualMachine
from vms.placement import nodes_ok
from vms.states import LIVE, DesiredState, ObservedState, Role

from .models import Sandbox, TemplateBuild

TRIES = 20


def claim(builds: Sequence[TemplateBuild], network: str, *, project: Project, user: User, name: str) -> Sandbox | None:
    """Hand a waiting clone of one of these builds to a project, or return None where none waits.

    The caller is in a transaction, holds the project's quota lock and has checked its quota. A conditional update
    decides between any number of claims at once: a clone is never handed out twice.
    """
    changes = {
        "role": Role.SANDBOX, "project": project, "created_by": user, "name": name, "created_at": Now(),
        "version": F("version") + 1,
    }  # fmt: skip
    vm_id = _take_one(_waiting(builds, network), changes)
    if vm_id is None:
        return None
    Sandbox.objects.filter(vm=vm_id).update(claimed=True)
    return Sandbox.objects.select_related("template", "build", "vm__node", "vm__project").get(vm=vm_id)


def take_for_exchange(builds: Sequence[TemplateBuild], sandbox: Sandbox) -> Sandbox | None:
    """Take a waiting clone out of the pool whose domain can become that of this sandbox, or return None.

    It has the same size and a card on the same network. Nobody else can get it; the caller deletes its row, and is in
    a transaction.
    """
    vm = sandbox.vm
    rows = _waiting(builds, sandbox.network).filter(
        vm__node=vm.node_id, vm__vcpus=vm.vcpus, vm__memory_mib=vm.memory_mib, vm__disk_gib=vm.disk_gib,
        vm__nics__network__in=vm.nics.values("network"),
    )  # fmt: skip
    vm_id = _take_one(rows, {"desired_state": DesiredState.STOPPED})
    return Sandbox.objects.select_related("build", "vm__node", "vm__project").get(vm=vm_id) if vm_id else None


def _waiting(builds: Sequence[TemplateBuild], network: str) -> QuerySet[Sandbox]:
    """Return the clones that wait, the longest first."""
    return (
        Sandbox.objects.filter(build__in=[build.pk for build in builds], network=network, named_at__isnull=False)
        .filter(vm__role=Role.SPARE, vm__observed_state=ObservedState.PAUSED, vm__desired_state=DesiredState.PAUSED)
        .filter(vm__node__in=nodes_ok())
        .exclude(vm__operations__status__in=LIVE)
        .order_by("named_at")
    )


def _take_one(rows: QuerySet[Sandbox], changes: dict[str, Any]) -> UUID | None:
    tried = rows.values_list("vm", flat=True)[:TRIES]
    return next((vm_id for vm_id in list(tried) if _take(vm_id, changes)), None)


def _take(vm_id: UUID, changes: dict[str, Any]) -> bool:
    locked = VirtualMachine.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=vm_id)
    if locked.values_list("pk", flat=True).first() is None:  # another claim has it just now
        return False
    if Operation.objects.filter(vm=vm_id, status__in=LIVE).exists():
        return False
    taken = VirtualMachine.objects.filter(
        pk=vm_id, role=Role.SPARE, observed_state=ObservedState.PAUSED, desired_state=DesiredState.PAUSED
    ).update(**changes)
    return taken == 1


def is_short_of_memory(node: Node, least_free: float) -> bool:
    """Has the node so little memory left that clones must not wait on it?"""
    return node.memory_free_mib < node.memory_mib * least_free
