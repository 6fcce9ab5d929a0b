"""What staff may ask of a node: to take no new machines, and to take them again."""

from uuid import UUID

from django.db import transaction
from django.utils.functional import Promise

from accounts.access import as_uuid
from accounts.actor import Actor
from accounts.audit import record
from accounts.refusals import BadInput, NotVisible
from accounts.retrying import retried

from ..models import Node
from ..wellformed import check_text

REASON_AT_MOST = 200


@retried
@transaction.atomic
def request_cordon(actor: Actor, node_id: UUID | str, reason: str = "") -> Node:
    """Let no new machine be placed on a node; those on it stay as they are. BadInput; NotVisible unless staff."""
    node = _node(actor, node_id)
    errors: dict[str, list[str | Promise]] = {}
    check_text("reason", reason, REASON_AT_MOST, errors)
    if errors:
        raise BadInput(errors)
    return _set(actor, node, cordoned=True, reason=reason)


@retried
@transaction.atomic
def request_uncordon(actor: Actor, node_id: UUID | str) -> Node:
    """Let new machines be placed on a node again. NotVisible unless staff."""
    return _set(actor, _node(actor, node_id), cordoned=False, reason="")


def _node(actor: Actor, node_id: UUID | str) -> Node:
    if not actor.who.is_staff:
        raise NotVisible
    found = as_uuid(node_id)
    node = Node.objects.select_for_update(no_key=True).filter(pk=found).first() if found else None
    if node is None:
        raise NotVisible
    return node


def _set(actor: Actor, node: Node, *, cordoned: bool, reason: str) -> Node:
    if (node.cordoned, node.cordon_reason) == (cordoned, reason):
        return node
    node.cordoned, node.cordon_reason = cordoned, reason
    node.save(update_fields=["cordoned", "cordon_reason"])
    action = "node.cordon" if cordoned else "node.uncordon"
    record(actor, action, kind="node", target=node.pk, name=node.name, reason=reason)
    return node
