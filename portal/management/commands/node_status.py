"""`manage.py node_status`: one line on each hypervisor host, and in words what is wrong with it."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from vms.models import Node
from vms.states import ObservedState, is_away


class Command(BaseCommand):
    help = "Prints how each hypervisor host is; exit code 1 when one is away or has lost libvirt."

    def handle(self, *args: Any, **options: Any) -> None:
        nodes = list(Node.objects.all())
        if not nodes:
            raise CommandError("no node has registered yet; its agent's log says why")
        now = timezone.now()
        wrong = [sentence for node in nodes if (sentence := self._say(node, now))]
        if wrong:
            raise CommandError("; ".join(wrong))

    def _say(self, node: Node, now: datetime) -> str:
        """Print the node's line; return what is wrong with it, or ""."""
        running = node.vms.filter(observed_state=ObservedState.RUNNING).count()
        age = f"compared {(now - node.synced_at).total_seconds():.0f} s ago" if node.synced_at else "never compared"
        size = f"{node.vcpus} CPUs, {node.memory_mib / 1024:.0f} GiB"
        self.stdout.write(f"  node {node.name:<15} {node.virt_type}, {size}, {running} machines running, {age}")
        if node.cordoned:
            self.stdout.write(f"       takes no new machines: {node.cordon_reason or 'no reason given'}")
        if is_away(node.synced_at, now, settings.NODE_AWAY_AFTER):
            return f"node {node.name} is away: is its agent running?"
        return "" if node.hypervisor_ok else f"node {node.name} has no connection to libvirt"
