"""Where a new machine goes: the node with the most room, its pool, and a free address on its network."""

import ipaddress
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.refusals import Refusal

from .models import Network, Nic, Node, StoragePool, VirtualMachine
from .states import HOLDS_MEMORY, NetworkKind

MEMORY_OVERCOMMIT = 1.5  # running machines may be promised this much of a node's memory
POOL_RESERVE_BYTES = 2 * 2**30  # a pool is never filled beyond this


class NoRoom(Refusal):
    """No node can take the machine now."""

    status = 503
    code = "no_capacity"


@dataclass(frozen=True, slots=True)
class Place:
    node: Node
    pool: StoragePool
    network: Network


def choose(memory_mib: int, kind: str = NetworkKind.VMS, among: Collection[UUID] | None = None) -> Place:
    """Return the place for a machine of this size on a network of this kind; NoRoom says what is missing.

    `among`: only these nodes. Three queries, whatever the fleet.
    """
    nodes = list(
        nodes_ok()
        .annotate(promised=Sum("vms__memory_mib", filter=_running_on_node(), default=0))
        .prefetch_related("pools", "networks")
    )
    if among is not None:
        nodes = [node for node in nodes if node.pk in among]
    if not nodes:
        raise NoRoom(_("No node takes new machines right now. An admin has to look at the nodes."))
    fitting = [node for node in nodes if node.promised + memory_mib <= node.memory_mib * MEMORY_OVERCOMMIT]
    if not fitting:
        raise NoRoom(
            _("No node has %(mib)s MiB of memory left. Stop a machine, or try a smaller size.") % {"mib": memory_mib}
        )
    for node in sorted(fitting, key=lambda n: n.promised / max(n.memory_mib, 1)):
        pool = max(node.pools.all(), key=lambda p: p.free_bytes, default=None)
        network = next((network for network in node.networks.all() if network.kind == kind), None)
        if pool and network and pool.free_bytes > POOL_RESERVE_BYTES:
            return Place(node, pool, network)
    raise NoRoom(_("No storage pool has room for another disk. An admin has to free some."))


def nodes_ok() -> QuerySet[Node]:
    """Return the nodes that take new machines: not cordoned, not away, with a hypervisor that answers."""
    oldest = Now() - settings.NODE_AWAY_AFTER  # the clock that it was written by
    return Node.objects.filter(cordoned=False, hypervisor_ok=True, synced_at__gt=oldest)


def _running_on_node() -> Q:
    """The rule of quotas.COUNTS_AS_RUNNING, seen from the node."""
    return Q(vms__desired_state="running") | Q(vms__observed_state__in=HOLDS_MEMORY)


def give_card(vm: VirtualMachine, network: Network, *, linked: bool = True) -> Nic:
    """Give the machine a card with the next free address, plugged in or not. The caller is in a transaction.

    The network's row is locked and its cursor moves on, so the cost does not grow with the number of machines.
    """
    locked = Network.objects.select_for_update(no_key=True).get(pk=network.pk)
    subnet = ipaddress.ip_network(locked.subnet)
    last = subnet.num_addresses - 2
    host = locked.next_host
    for _attempt in range(last):
        host = host if 2 <= host <= last else 2
        address = str(subnet[host])
        host += 1
        if not Nic.objects.filter(network=locked, address=address).exists():
            Network.objects.filter(pk=locked.pk).update(next_host=host)
            return Nic.objects.create(vm=vm, network=locked, mac=_mac(), address=address, linked=linked)
    raise NoRoom(_("Every address of the network is taken. Delete a machine, or ask an admin for a larger network."))


def _mac() -> str:
    """Return a random MAC in QEMU's range; the unique constraint catches the one in 16 million."""
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
