"""Devices that somebody attached with virsh: compared with the rows, told to staff, and never taken away (F17)."""

import contextlib
from pathlib import PurePosixPath
from uuid import UUID

from django.db import transaction

from accounts.actor import Actor
from accounts.audit import record
from accounts.retrying import retried
from hypervisor.api import Hypervisor
from hypervisor.errors import NotFound
from vms import broadcast
from vms.models import Node, VirtualMachine, lock_vm
from vms.states import LIVE, ObservedState

LONGEST = 300


def look(node: Node, hypervisor: Hypervisor, domain_uuid: UUID | None = None) -> None:
    """Compare the devices of one domain, or of all of the node; a row is written when the answer has changed.

    One or two reads of a domain's XML for each machine. What an operation is working on is left out.
    """
    rows = VirtualMachine.objects.filter(node=node).exclude(observed_state=ObservedState.ABSENT)
    rows = rows.exclude(operations__status__in=LIVE).prefetch_related("volumes__pool", "nics")
    for vm in rows.filter(domain_uuid=domain_uuid) if domain_uuid else rows:
        with contextlib.suppress(NotFound):  # it went meanwhile: the comparison of states tells
            words = ", ".join(hypervisor.foreign_devices(vm.domain_uuid, _disks(vm), _macs(vm)))[:LONGEST]
            if words != vm.foreign_devices:
                _note(vm, words)


def _disks(vm: VirtualMachine) -> set[PurePosixPath]:
    volumes = list(vm.volumes.all())
    names = {PurePosixPath(volume.pool.path, volume.file_name) for volume in volumes}
    return names | {PurePosixPath(volume.pool.path, vm.seed_name) for volume in volumes}


def _macs(vm: VirtualMachine) -> set[str]:
    return {nic.mac.lower() for nic in vm.nics.all()}


@retried
@transaction.atomic
def _note(seen: VirtualMachine, words: str) -> None:
    """Store it, with one entry of the trail for as long as there is something; not of a domain that was exchanged."""
    vm = lock_vm(seen.pk)
    if vm is None or vm.domain_uuid != seen.domain_uuid or vm.operations.filter(status__in=LIVE).exists():
        return
    if words and not vm.foreign_devices:
        record(
            Actor.system(),
            "vm.foreign_devices",
            project=vm.project,
            kind="vm",
            target=vm.pk,
            name=vm.name,
            devices=words,
        )
    VirtualMachine.objects.filter(pk=vm.pk).update(foreign_devices=words)
    broadcast.vm_changed(vm)
