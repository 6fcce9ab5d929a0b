"""Where a new machine goes: the node with the most room, its pool, and a free address on its network."""

import ipaddress
import secrets
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Q, Sum
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.refusals import Refusal

from .models import Network, Nic, Node, StoragePool, VirtualMachine

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


def choose(memory_mib: int) -> Place:
    """Return the place for a machine of this size; NoRoom says what is missing. Three queries, whatever the fleet."""
    oldest = timezone.now() - settings.NODE_AWAY_AFTER
    nodes = list(
        Node.objects.filter(cordoned=False, hypervisor_ok=True, synced_at__gt=oldest)
        .annotate(promised=Sum("vms__memory_mib", filter=_running_on_node(), default=0))
        .prefetch_related("pools", "networks")
    )
    if not nodes:
        raise NoRoom(_("No node takes new machines right now. An admin has to look at the nodes."))
    fitting = [node for node in nodes if node.promised + memory_mib <= node.memory_mib * MEMORY_OVERCOMMIT]
    if not fitting:
        raise NoRoom(
            _("No node has %(mib)s MiB of memory left. Stop a machine, or try a smaller size.") % {"mib": memory_mib}
        )
    for node in sorted(fitting, key=lambda n: n.promised / max(n.memory_mib, 1)):
        pool = max(node.pools.all(), key=lambda p: p.free_bytes, default=None)
        network = next(iter(node.networks.all()), None)
        if pool and network and pool.free_bytes > POOL_RESERVE_BYTES:
            return Place(node, pool, network)
    raise NoRoom(_("No storage pool has room for another disk. An admin has to free some."))


def _running_on_node() -> Q:
    """The rule of quotas.COUNTS_AS_RUNNING, seen from the node."""
    return Q(vms__desired_state="running") | Q(vms__observed_state__in=["running", "paused"])


def give_card(vm: VirtualMachine, network: Network) -> Nic:
    """Give the machine a card with the next free address. The caller is in a transaction.

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
            return Nic.objects.create(vm=vm, network=locked, mac=_mac(), address=address)
    raise NoRoom(_("Every address of the network is taken. Delete a machine, or ask an admin for a larger network."))


def _mac() -> str:
    """Return a random MAC in QEMU's range; the unique constraint catches the one in 16 million."""
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
