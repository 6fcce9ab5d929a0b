"""One line of the audit trail, written in the transaction of what it tells."""

from typing import Any
from uuid import UUID

from .actor import Actor
from .models import AuditEntry, Project


def record(
    actor: Actor,
    action: str,
    *,
    project: Project | None = None,
    kind: str = "",
    target: UUID | None = None,
    name: str = "",
    **data: Any,
) -> AuditEntry:
    """Append an entry such as `record(actor, "vm.create", project=p, kind="vm", target=vm.id, name=vm.name)`."""
    return AuditEntry.objects.create(
        actor=actor.user,
        actor_name=actor.name,
        via=actor.via,
        action=action,
        project=project,
        target_kind=kind,
        target_id=target,
        target_name=name[:150],
        data=data,
        request_id=actor.request_id,
        address=actor.address,
    )
