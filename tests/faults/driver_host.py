"""The driver's commands that reach the hypervisor past the portal: guests, domains, files."""

import time
from itertools import count
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.models import Project
from hypervisor.errors import HypervisorError
from hypervisor.fake import FakeHypervisor
from tests.faults.driver_base import Base
from vms import placement
from vms.models import Flavor, Image, Node, VirtualMachine, Volume
from vms.operations import blueprint


class Host(Base):
    """What happens to a host without anybody asking the portal, and what lies there."""

    def slow(self, seconds: float) -> None:
        self.fake().set_slow(seconds)

    def guest(self, name: str, words: str) -> int:
        """Let the guest's shell do something; return the number of its process."""
        arguments = {"path": "/bin/sh", "arg": ["-c", words]}
        uuid = VirtualMachine.objects.get(name=name).domain_uuid
        answer: dict[str, int] = self.hypervisor.agent(uuid, "guest-exec", arguments, 5)
        return answer["pid"]

    def guest_answers(self, name: str) -> bool:
        uuid = VirtualMachine.objects.get(name=name).domain_uuid
        try:
            self.hypervisor.agent(uuid, "guest-ping", timeout_seconds=2)
        except HypervisorError:
            return False
        return True

    def stock(self, number_of: int) -> None:
        """Make machines that run, rows and domains, without going through operations."""
        owner, node = Project.objects.get(name="harbor"), Node.objects.get(name=settings.NODE_NAME)
        pool, network = node.pools.get(), node.networks.filter(name=f"slipway-{settings.INSTALLATION_ID}").get()
        flavor, image = Flavor.objects.get(name="nano"), Image.objects.get(name="micro")
        size = {"vcpus": 1, "memory_mib": 16, "disk_gib": flavor.disk_gib}
        for number in range(number_of):
            with transaction.atomic():
                vm = VirtualMachine.objects.create(
                    project=owner, created_by=self.actor().who, name=f"s-{number}", node=node, image=image,
                    flavor=flavor, desired_state="running", **size,
                )  # fmt: skip
                volume = Volume.objects.create(vm=vm, pool=pool, base_image=image, size_gib=flavor.disk_gib)
                placement.give_card(vm, network)
            self.hypervisor.ensure_volume(blueprint.volume_spec(volume))
            self.hypervisor.define(blueprint.domain_spec(vm, [volume]))
            self.hypervisor.start(vm.domain_uuid)

    def flood(self, seconds: float, per_second: int) -> int:
        """Pause and resume domains behind the portal's back; return how many events that made."""
        uuids = list(VirtualMachine.objects.values_list("domain_uuid", flat=True))
        domains = [self.hypervisor._lookup(uuid) for uuid in uuids]  # type: ignore[attr-defined]
        began, made = time.monotonic(), 0
        for round_ in count():
            for domain in domains:
                (domain.resume if round_ % 2 else domain.suspend)()
                made += 1
                time.sleep(max(0.0, made / per_second - (time.monotonic() - began)))  # the pace is what is tested
                if time.monotonic() - began > seconds:
                    return made
        return made

    def boots(self) -> dict[str, int]:
        return {domain.spec.name: domain.boots for domain in self._host().domains.values()}

    def files(self) -> list[str]:
        return sorted(volume.name for volume in self.hypervisor.volumes(f"slipway-{settings.INSTALLATION_ID}"))

    def fake(self) -> FakeHypervisor:
        assert isinstance(self.hypervisor, FakeHypervisor)
        return self.hypervisor

    def _host(self) -> Any:
        assert self.fake().calls is not None  # reads the file
        return self.fake()._host
