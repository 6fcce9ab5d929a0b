"""Every operation once on real QEMU, each losing its worker wherever a test wants it to (F1).

The journal and the runner of this process, under an installation id of its own; libvirt and guests of this host. A
machine is made, used and deleted, then a template with sandboxes of every origin.
"""

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from django.db.models.functions import Now

from hypervisor.errors import AgentUnavailable
from hypervisor.libvirt_driver import LibvirtHypervisor
from hypervisor.specs import DomainState
from portal.invariants import evaluate
from portal.node_agent.register import register
from sandboxes import services as sandbox_services
from sandboxes import sweeps
from sandboxes.models import Sandbox, Template, TemplateBuild
from tests.live import ROOT, wait_for
from tests.portal.lab import stub_gateway
from tests.portal.test_faults_fake import Killed, Place, die_at
from tests.portal.world import World, make_world
from vms import services
from vms.bells import BellTower
from vms.models import Network, Node, Operation, StoragePool, VirtualMachine
from vms.operations import runner
from vms.operations.leases import LeaseKeeper
from vms.states import LIVE, OperationKind, Role

BOOTED_SECONDS = 120
Places = Callable[[str], Sequence[Place]]
STATES = {
    OperationKind.STOP: DomainState.STOPPED,
    OperationKind.FORCE_OFF: DomainState.STOPPED,
    OperationKind.RESIZE: DomainState.STOPPED,
    OperationKind.PAUSE: DomainState.PAUSED,
    OperationKind.SPARE: DomainState.PAUSED,
    OperationKind.SUSPEND: DomainState.SUSPENDED,
    OperationKind.DELETE: None,
    OperationKind.PREPARE: None,
}  # of the machine's domain after the operation; the others leave it running


@contextmanager
def real_world(settings: Any, patch: pytest.MonkeyPatch) -> Iterator[World]:
    """The demo's people, and one node: this host, under an installation id of its own."""
    patch.setattr(BellTower, "ring", lambda _self, bell: None)
    patch.setattr(LeaseKeeper, "_renew_for_ever", lambda _self: None)
    settings.OPERATION_LEASE = timedelta(minutes=10)  # nobody renews it, and a busy machine takes its time
    stub_gateway(patch)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.INSTALLATION_ID = secrets.token_hex(4)
    settings.NODE_NAME, settings.VIRT_TYPE, settings.SUBNET = "node-1", "qemu", ""
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))  # short, and open to QEMU's user
    folder.chmod(0o711)
    settings.DATA_DIR = folder
    world = make_world()
    for model in (StoragePool, Network, Node):
        model.objects.all().delete()
    world.hypervisor = LibvirtHypervisor("qemu:///system")
    try:
        world.node = register(world.hypervisor)
        Node.objects.update(synced_at=Now())
        world.pool, world.network = world.node.pools.get(), world.node.networks.filter(kind="vms").get()
        shutil.copy(ROOT / "var/cache/images/micro.qcow2", folder / "images/micro.qcow2")
        yield world
    finally:
        clear(world, settings.INSTALLATION_ID, folder)


def clear(world: World, installation: str, folder: Path) -> None:
    """Remove what a test that failed has left, and what belongs to the node."""
    for facts in world.hypervisor.domains(installation):
        if facts.active:
            world.hypervisor.force_off(facts.uuid)
        world.hypervisor.undefine(facts.uuid)
    for frozen in folder.glob("templates/*"):
        world.hypervisor.remove_frozen(PurePosixPath(frozen))
    for network in Network.objects.all():
        world.hypervisor.remove_network(network.name, network.filter_name)
    world.hypervisor.remove_firewall(f"slipway_{installation}")
    world.hypervisor.remove_pool(f"slipway-{installation}")
    world.hypervisor.close()
    shutil.rmtree(folder)


class Journey:
    """Carries operations out; `places` says where the worker of one of this kind dies, in the order of its steps."""

    def __init__(self, world: World, places: Places) -> None:
        self.world, self.places = world, places
        self.seen: set[str] = set()

    def machine(self) -> None:
        """A machine from its create to its delete."""
        alice = self.world.actor("alice")
        wanted = services.NewVm("web-1", "micro", "nano", "harbor")
        vm, operation = services.request_create(alice, wanted)
        self._carry(operation)
        self._answers(vm)
        self._carry(services.request_reboot(alice, vm.pk))
        self._answers(vm)
        for ask in (services.request_pause, services.request_resume, services.request_stop):
            self._carry(ask(alice, vm.pk))
        self._carry(services.request_resize(alice, vm.pk, "small"))
        for ask in (services.request_start, services.request_force_off, services.request_delete):
            self._carry(ask(alice, vm.pk))

    def sandboxes(self) -> None:
        """A template, a clone that is reset, paused and taken back, a reset that takes a spare, a claim, two ends."""
        admin, alice = self.world.actor("admin"), self.world.actor("alice")
        template = sandbox_services.request_template(
            admin, sandbox_services.NewTemplate(name="micro", image="micro", flavor="nano", ready_script="#!/bin/sh\n")
        )
        self._carry(sandbox_services.request_prepare(admin, template.pk)[1][0])
        assert TemplateBuild.objects.get().status == "ready"
        first = self._sandbox("box-1", OperationKind.CLONE)
        self._carry(sandbox_services.request_reset(alice, first.vm_id))
        self._answers(first.vm)
        self._carry(sandbox_services.request_pause(alice, first.vm_id))
        self._carry(sandbox_services.request_resume(alice, first.vm_id))
        self._answers(first.vm)
        self._spare(template)
        operation = self._of(sandbox_services.request_reset(alice, first.vm_id))
        assert operation.data["exchanged"]
        self._carry(operation)
        self._answers(first.vm)
        self._spare(template)
        second = self._sandbox("box-2", OperationKind.CLAIM)
        Template.objects.update(pool_size=0)
        Sandbox.objects.filter(pk=second.pk).update(expires_at=Now() - timedelta(seconds=1))
        assert sweeps.end_leases() == 1
        self._carry(self._live(second))
        Sandbox.objects.filter(pk=second.pk).update(grace_until=Now() - timedelta(seconds=1))
        assert sweeps.delete_after_grace() == 1
        self._carry(self._live(second))
        self._carry(sandbox_services.request_delete(alice, first.vm_id))

    def nothing_is_left(self) -> None:
        assert not VirtualMachine.objects.exists()
        assert list(Path(self.world.pool.path).iterdir()) == []
        assert [self.world.hypervisor.addresses(network.name) for network in Network.objects.all()] == [{}, {}, {}]

    def _sandbox(self, name: str, kind: str) -> Sandbox:
        wanted = sandbox_services.NewSandbox(name=name, template="micro", project="harbor")
        sandbox, operation = sandbox_services.request_sandbox(self.world.actor("alice"), wanted)
        assert operation.kind == kind
        self._carry(operation)
        self._answers(sandbox.vm)
        return Sandbox.objects.select_related("vm").get(pk=sandbox.pk)

    def _spare(self, template: Template) -> None:
        Template.objects.filter(pk=template.pk).update(pool_size=1)
        assert sweeps.tend_pools() == (1, 0)
        self._carry(Operation.objects.get(status__in=LIVE))
        assert Sandbox.objects.get(vm__role=Role.SPARE).vm.observed_state == "paused"

    @staticmethod
    def _live(sandbox: Sandbox) -> Operation:
        return Operation.objects.get(vm=sandbox.vm_id, status__in=LIVE)

    @staticmethod
    def _of(answer: Any) -> Operation:
        return answer[1] if isinstance(answer, tuple) else answer

    def _carry(self, answer: Any) -> None:
        """Carry an operation out with its workers dying at its places, and by the last one to its end."""
        operation = self._of(answer)
        self.seen.add(operation.kind)
        taken_over = 0
        for place in self.places(operation.kind):
            if not VirtualMachine.objects.filter(pk=operation.machine_id).exists():
                break  # it was deleted: whoever comes now has nothing to do but to say so
            self._killed(operation, place)
            taken_over += place.point != "after the end"
        self.world.drain()
        operation.refresh_from_db()
        assert (operation.status, operation.error_code, operation.takeovers) == ("succeeded", "", taken_over), operation
        assert evaluate(self.world.hypervisor) == []
        vm = VirtualMachine.objects.filter(pk=operation.machine_id).first()
        state = STATES.get(OperationKind(operation.kind), DomainState.RUNNING)
        assert (vm is None) is (state is None), operation.kind
        if vm is not None:
            assert self.world.hypervisor.domain(vm.domain_uuid).state is state, operation.kind

    def _killed(self, operation: Operation, place: Place) -> None:
        with pytest.MonkeyPatch.context() as patch:
            die_at(patch, place)
            with pytest.raises(Killed):
                runner.run(operation.pk, self.world.hypervisor)
        assert runner.run(operation.pk, self.world.hypervisor) is False  # ended, or its lease has not run out
        Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))

    def _answers(self, vm: VirtualMachine) -> None:
        """The guest answers, and by its machine's name."""
        uuid = VirtualMachine.objects.get(pk=vm.pk).domain_uuid

        def named() -> bool:
            try:
                answer = self.world.hypervisor.agent(uuid, "guest-get-host-name", timeout_seconds=2)
            except AgentUnavailable:
                return False
            return bool(answer["host-name"] == vm.name)

        wait_for(named, BOOTED_SECONDS, f"the guest says that it is {vm.name}")
