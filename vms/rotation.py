"""A node that fails to start machines takes itself out of rotation, before it spoils everybody's next one."""

from accounts.actor import Actor
from accounts.audit import record
from accounts.models import AuditEntry

from .models import Node, Operation
from .states import ENDED, MAKING, OperationKind, OperationStatus

FAILURES_IN_A_ROW = 5
# every kind that starts a domain, or lets one go on that waits
STARTING = (*sorted(MAKING), OperationKind.START, OperationKind.RESTORE)
# what a guest, a person or a deadline brought about says nothing of the node
NODES_FAULT = ("hypervisor_error", "hypervisor_unavailable", "pool_full", "no_space", "bad_spec", "not_supported")


def cordon_if_failing(node: Node) -> bool:
    """Cordon the node when its last five starts all failed by its own fault; returns whether it was done now.

    Counted since somebody last put it back into rotation. The caller is in a transaction.
    """
    starts = Operation.objects.filter(node=node, kind__in=STARTING, status__in=ENDED).exclude(
        status=OperationStatus.CANCELLED
    )
    back = AuditEntry.objects.filter(action="node.uncordon", target_id=node.pk).order_by("-id").first()
    if back is not None:
        starts = starts.filter(finished_at__gt=back.at)
    codes = list(starts.order_by("-finished_at").values_list("error_code", flat=True)[:FAILURES_IN_A_ROW])
    if len(codes) < FAILURES_IN_A_ROW or not set(codes) <= set(NODES_FAULT):
        return False
    reason = f"{FAILURES_IN_A_ROW} starts in a row failed here, the last one with {codes[0]}"
    if not Node.objects.filter(pk=node.pk, cordoned=False).update(cordoned=True, cordon_reason=reason):
        return False
    record(Actor.system(), "node.cordon", kind="node", target=node.pk, name=node.name, reason=reason)
    return True


__all__ = ["FAILURES_IN_A_ROW", "STARTING", "cordon_if_failing"]
