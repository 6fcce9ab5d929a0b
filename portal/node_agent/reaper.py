"""The reaper: removes what a delete left behind, and nothing that it cannot account for.

An object is reaped only if it bears our installation id, no row knows it, the journal knows the machine that it
belonged to and has no live operation on it, and all that was so twice in a row, a resync apart. Everything else is
reported by `manage.py audit` and left alone: a lost database must not cost anyone a disk.
"""

import contextlib
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import QuerySet

from hypervisor import errors
from hypervisor.api import Hypervisor
from vms.models import Node, Operation, VirtualMachine
from vms.states import LIVE, OperationKind, OperationStatus

from . import frozen
from .register import ensure_firewall, ensure_guards

log = structlog.get_logger(__name__)
RECENT_DELETES = 500


@dataclass(slots=True)
class Reaper:
    """Remembers what it saw without an owner last time."""

    node: Node
    hypervisor: Hypervisor
    seen: set[str] = field(default_factory=set)

    def sweep(self) -> list[str]:
        """Reap what was ownerless last time too, and builds that nothing needs; return what was removed."""
        ensure_firewall(self.node, self.hypervisor)  # first: whatever else does not work, the walls stand
        ensure_guards(self.node, self.hypervisor)
        kept = frozen.tend(self.node, self.hypervisor)
        found = self._ownerless()
        removed = [name for name, reap in found.items() if name in self.seen and self._try(name, reap)]
        self.seen = set(found) - set(removed)
        return removed + kept

    def _ownerless(self) -> dict[str, "Remains"]:
        known = set(VirtualMachine.objects.filter(node=self.node).values_list("domain_uuid", flat=True))
        found: dict[str, Remains] = {}
        for facts in self.hypervisor.domains(settings.INSTALLATION_ID):
            if facts.uuid not in known and facts.owner and self._journaled(facts.owner.vm_id):
                found[f"domain {facts.uuid}"] = Remains(domain=facts.uuid, active=facts.active)
        files = self._deleted_files()
        for pool in self.node.pools.all():
            present = {volume.name for volume in self.hypervisor.volumes(pool.name)}
            for name in sorted(present & files):
                found[f"volume {name}"] = Remains(pool=pool.name, volume=name)
        return found | self._ownerless_addresses()

    def _ownerless_addresses(self) -> dict[str, "Remains"]:
        """Return the cards of deleted machines that still have an address, or whom a guard still lets send."""
        cards = {mac for operation in self._deletes() for mac in operation.data.get("macs", [])}
        found = {}
        for network in self.node.networks.all():
            kept = set(network.nics.values_list("mac", flat=True)) if cards else set()
            there = set(self.hypervisor.addresses(network.name)) if cards else set()
            if cards and not network.filter_name:
                with contextlib.suppress(errors.NotFound):
                    there |= set(self.hypervisor.admitted(network.name))
            for mac in sorted(there & cards - kept):
                found[f"address {mac}"] = Remains(network=network.name, mac=mac)
        return found

    @staticmethod
    def _journaled(vm_id: UUID) -> bool:
        """Did this database once own the machine, and is nobody working on it?"""
        operations = Operation.objects.filter(vm_id=vm_id)
        return operations.exists() and not operations.filter(status__in=LIVE).exists()

    def _deleted_files(self) -> set[str]:
        return {name for operation in self._deletes() for name in operation.data.get("files", [])}

    def _deletes(self) -> QuerySet[Operation]:
        """Return the deletes that have succeeded, the last few hundred."""
        return Operation.objects.filter(
            node=self.node, kind=OperationKind.DELETE, status=OperationStatus.SUCCEEDED
        ).order_by("-created_at")[:RECENT_DELETES]

    def _try(self, name: str, remains: "Remains") -> bool:
        try:
            remains.remove(self.hypervisor)
        except errors.HypervisorError as error:
            log.warning("not_reaped", what=name, error=error.detail)
            return False
        log.warning("reaped", what=name)
        return True


@dataclass(frozen=True, slots=True)
class Remains:
    """One thing without an owner."""

    domain: UUID | None = None
    active: bool = False
    pool: str = ""
    volume: str = ""
    network: str = ""
    mac: str = ""

    def remove(self, hypervisor: Hypervisor) -> None:
        if self.domain:
            if self.active:
                hypervisor.force_off(self.domain)
            hypervisor.undefine(self.domain)
        elif self.network:
            hypervisor.remove_address(self.network, self.mac)
        else:
            hypervisor.remove_volume(self.pool, self.volume)
