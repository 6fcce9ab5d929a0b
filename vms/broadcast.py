"""Hints to browsers: ids and versions, never content. Who may see what is decided where the hint is received."""

from functools import partial
from typing import Any
from uuid import UUID

from channels.layers import get_channel_layer
from django.db import transaction
from django.db.models import F

from .bells import tower
from .models import Operation, VirtualMachine

STAFF_GROUP = "staff"


def project_group(project_id: UUID) -> str:
    return f"project.{project_id.hex}"


def vm_changed(vm: VirtualMachine) -> None:
    """Count the machine's version up and hint its watchers once the transaction has committed."""
    VirtualMachine.objects.filter(pk=vm.pk).update(version=F("version") + 1)
    vm.version += 1
    hint(vm.project_id, "vm", vm.pk, vm.version)


def vm_gone(vm: VirtualMachine) -> None:
    """Hint that the machine's row has left the database."""
    hint(vm.project_id, "vm", vm.pk, vm.version + 1)


def operation_changed(operation: Operation) -> None:
    """Hint that an operation made a step; its machine is re-read with it."""
    hint(operation.project_id, "operation", operation.pk, operation.attempt, vm=str(operation.vm_id or ""))


def hint(project_id: UUID, kind: str, object_id: UUID, version: int, **extra: str) -> None:
    """Send {type: "hint", group, kind, id, version, ...} to the project's group and to staff, after the commit."""
    group = project_group(project_id)
    message = {"type": "hint", "group": group, "kind": kind, "id": str(object_id), "version": version, **extra}
    transaction.on_commit(partial(_hint_now, group, message))


def _hint_now(group: str, message: dict[str, Any]) -> None:
    layer = get_channel_layer()

    async def bell() -> None:
        assert layer is not None  # settings.CHANNEL_LAYERS
        await layer.group_send(group, message)
        await layer.group_send(STAFF_GROUP, message)

    tower.ring(bell)
