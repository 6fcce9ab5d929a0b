"""The driver's commands that only look: what the portal's database says, and whether it is true."""

import time
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.models import Project
from portal.invariants import evaluate
from tests.faults.driver_base import Base
from vms import following, quotas
from vms.models import ConsoleSession, Node, Operation, StoragePool, VirtualMachine
from vms.states import LIVE, DesiredState, display_status


class View(Base):
    """What is, as JSON."""

    def synced(self) -> bool:
        node = Node.objects.filter(name=settings.NODE_NAME).first()
        return bool(node and node.synced_at)

    def nodes_synced(self) -> int:
        return Node.objects.exclude(synced_at=None).count()

    def node(self) -> list[Any]:
        """[is libvirt there, seconds since the last comparison]."""
        node = Node.objects.get(name=settings.NODE_NAME)
        return [node.hypervisor_ok, (timezone.now() - node.synced_at).total_seconds() if node.synced_at else None]

    def vm(self, name: str) -> list[str]:
        """[id, domain uuid, version]."""
        found = VirtualMachine.objects.get(name=name)
        return [str(found.pk), str(found.domain_uuid), found.version]

    def machines(self) -> dict[str, list[str]]:
        """{name: [domain uuid, desired, observed, reason]}."""
        rows = VirtualMachine.objects.order_by("created_at")
        return {vm.name: [str(vm.domain_uuid), vm.desired_state, vm.observed_state, vm.observed_reason] for vm in rows}

    def places(self) -> dict[str, list[Any]]:
        """{name: [node, status as people see it, reason]}."""
        now = timezone.now()
        rows = VirtualMachine.objects.select_related("node")
        return {vm.name: [vm.node.name, *display_status(vm.facts(""), now, settings.NODE_AWAY_AFTER)] for vm in rows}

    def operations(self) -> list[list[Any]]:
        """[[id, kind, status, error_code, attempt, takeovers, seconds], ...], the oldest first."""
        rows = Operation.objects.order_by("created_at")
        return [
            [
                str(op.pk), op.kind, op.status, op.error_code, op.attempt, op.takeovers,
                ((op.finished_at or timezone.now()) - op.created_at).total_seconds(),
            ]
            for op in rows
        ]  # fmt: skip

    def live_of(self, name: str) -> list[list[str]]:
        """[[kind, status, error_code], ...] of all but the create."""
        rows = Operation.objects.filter(vm_name=name).exclude(kind="create")
        return [list(row) for row in rows.values_list("kind", "status", "error_code")]

    def live(self) -> int:
        return Operation.objects.filter(status__in=LIVE).count()

    def held(self) -> int:
        return Operation.objects.exclude(lease_owner="").count()

    def consoles(self) -> int:
        return ConsoleSession.objects.count()

    def usage(self) -> dict[str, int]:
        return quotas.usage(Project.objects.get(name="harbor"))

    def room(self) -> int:
        """What the portal believes to be free in the pool, in bytes."""
        return StoragePool.objects.get(node__name=settings.NODE_NAME).free_bytes

    def versions(self, at_most: int) -> dict[str, int]:
        """{id: version} of the first machines, as a page shows them."""
        rows = VirtualMachine.objects.order_by("created_at")[:at_most]
        return {str(pk): version for pk, version in rows.values_list("pk", "version")}

    def wrong(self) -> int:
        """How many machines are said to be in another state than their domains."""
        there = {facts.uuid: str(facts.state) for facts in self.hypervisor.domains(settings.INSTALLATION_ID)}
        rows = VirtualMachine.objects.values_list("domain_uuid", "observed_state")
        return sum(there.get(uuid) != state for uuid, state in rows)

    def breaches(self) -> list[str]:
        found = [f"{breach.code} {breach.what}" for breach in evaluate(self.hypervisor)]
        rows = VirtualMachine.objects.exclude(desired_state=DesiredState.DELETED).exclude(operations__status__in=LIVE)
        return found + [
            f"{vm.name} is wished {vm.desired_state} and seen {vm.observed_state}"
            for vm in rows
            if vm.desired_state != following._FOLLOWS[vm.observed_state]
        ]

    def clock(self) -> float:
        return time.time()
