"""How much of the host's memory sandboxes have for themselves: each shares the rest with its template."""

import contextlib

from hypervisor.api import Hypervisor
from hypervisor.errors import NotFound
from vms.models import Node, Sample

MIB = 2**20


def look(node: Node, hypervisor: Hypervisor) -> None:
    """Store it beside what each running clone uses: one reading for each, two statements for all."""
    samples = list(
        Sample.objects.filter(vm__node=node, vm__sandbox__build__template__share_ram=True).select_related("vm")
    )
    for sample in samples:
        with contextlib.suppress(NotFound):  # it went meanwhile
            own = hypervisor.own_memory(sample.vm.domain_uuid)
            sample.own_memory_mib = None if own is None else round(own / MIB)
    if samples:
        Sample.objects.bulk_update(samples, ["own_memory_mib"])
