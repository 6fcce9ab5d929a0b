"""The warm pool: clones that are ready and paused, and how one of them becomes somebody's sandbox."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import F
from django.utils import timezone

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
    if not builds:
        return None
    rows = (
        Sandbox.objects.filter(build__in=[build.pk for build in builds], network=network, named_at__isnull=False)
        .filter(vm__role=Role.SPARE, vm__observed_state=ObservedState.PAUSED, vm__desired_state=DesiredState.PAUSED)
        .filter(vm__node__in=nodes_ok())
        .exclude(vm__operations__status__in=LIVE)
        .order_by("named_at")
    )
    for vm_id in list(rows.values_list("vm", flat=True)[:TRIES]):
        if _take(vm_id, project, user, name):
            sandbox = Sandbox.objects.select_related("template", "build", "vm__node", "vm__project").get(vm=vm_id)
            Sandbox.objects.filter(pk=sandbox.pk).update(claimed=True)
            sandbox.claimed = True
            return sandbox
    return None


def _take(vm_id: UUID, project: Project, user: User, name: str) -> bool:
    locked = VirtualMachine.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=vm_id)
    if locked.values_list("pk", flat=True).first() is None:  # another claim has it just now
        return False
    if Operation.objects.filter(vm=vm_id, status__in=LIVE).exists():
        return False
    taken = VirtualMachine.objects.filter(
        pk=vm_id, role=Role.SPARE, observed_state=ObservedState.PAUSED, desired_state=DesiredState.PAUSED
    ).update(role=Role.SANDBOX, project=project, created_by=user, name=name, created_at=timezone.now(),
             version=F("version") + 1)  # fmt: skip
    return taken == 1


def is_short_of_memory(node: Node, least_free: float) -> bool:
    """Has the node so little memory left that clones must not wait on it?"""
    return node.memory_free_mib < node.memory_mib * least_free
