"""Hypervisor hosts, for staff."""

from uuid import UUID

from django.db.models import Count
from django.http import HttpRequest
from ninja import Query

from accounts import keyset

from ..models import Node, VirtualMachine
from ..services import request_cordon, request_uncordon
from . import asked, shapes, show
from .door import router, staff
from .paging import PageParams, shown

routes = router("nodes")


@routes.get("nodes", response=shapes.Page[shapes.Node])
def list_nodes(request: HttpRequest, wanted: Query[PageParams]) -> shapes.Page[shapes.Node]:
    """Return the nodes by name; staff only."""
    staff(request)
    found = keyset.page(Node.objects.prefetch_related("pools"), ["name"], wanted.limit, wanted.cursor)
    vms = _vms_on(found.items)
    return shown(found, lambda row: show.node(row, vms.get(row.pk, 0)))


@routes.post("nodes/{node_id}/cordon", response=shapes.Node)
def cordon_node(request: HttpRequest, node_id: str, body: asked.Cordon | None = None) -> shapes.Node:
    """Let a node take no new machines; those that it has are not touched. Staff only."""
    return _node(request_cordon(staff(request), node_id, body.reason if body else ""))


@routes.post("nodes/{node_id}/uncordon", response=shapes.Node)
def uncordon_node(request: HttpRequest, node_id: str, body: asked.Nothing | None = None) -> shapes.Node:
    """Let a node take new machines again; staff only."""
    return _node(request_uncordon(staff(request), node_id))


def _node(node: Node) -> shapes.Node:
    return show.node(node, _vms_on([node]).get(node.pk, 0))


def _vms_on(nodes: list[Node]) -> dict[UUID, int]:
    rows = VirtualMachine.objects.filter(node__in=nodes).order_by().values_list("node")
    return dict(rows.annotate(n=Count("id")))
