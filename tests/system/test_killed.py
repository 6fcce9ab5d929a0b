"""F1 on real QEMU, in the usual run: create, stop, start and delete lose their worker where it costs most.

The journal and the runner of this process, libvirt and a guest of this host; the whole matrix is in tests/faults.
"""

import secrets
import shutil
import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from django.db.models.functions import Now

from hypervisor.errors import AgentUnavailable
from hypervisor.libvirt_driver import LibvirtHypervisor
from hypervisor.specs import DomainState
from portal.invariants import evaluate
from portal.node_agent.register import register
from tests.live import ROOT, wait_for
from tests.portal.test_faults_fake import Killed, Place, die_at
from tests.portal.world import make_world
from vms import services
from vms.bells import BellTower
from vms.models import Network, Node, Operation, StoragePool, VirtualMachine
from vms.operations import runner
from vms.operations.leases import LeaseKeeper

BOOTED_SECONDS = 120
PLACES = [
    ("create", "disk", "after its effect"),
    ("create", "running", "after its effect"),
    ("stop", "ask_stop", "after its effect"),
    ("start", "running", "after its effect"),
    ("delete", "undefined", "after its effect"),
    ("delete", "no_disks", "after its effect"),
]


@pytest.fixture
def world(db, settings, monkeypatch):
    """The demo's people, and one node: this host, under an installation id of its own."""
    monkeypatch.setattr(BellTower, "ring", lambda _self, bell: None)
    monkeypatch.setattr(LeaseKeeper, "_renew_for_ever", lambda _self: None)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.INSTALLATION_ID = secrets.token_hex(4)
    settings.NODE_NAME, settings.VIRT_TYPE, settings.SUBNET = "node-1", "qemu", ""
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))  # short, and open to QEMU's user
    folder.chmod(0o711)
    settings.DATA_DIR = folder
    made = make_world()
    for model in (StoragePool, Network, Node):
        model.objects.all().delete()
    made.hypervisor = LibvirtHypervisor("qemu:///system")
    made.node = register(made.hypervisor)
    Node.objects.update(synced_at=Now())
    made.pool, made.network = made.node.pools.get(), made.node.networks.filter().order_by("name").first()
    shutil.copy(ROOT / "var/cache/images/micro.qcow2", folder / "images/micro.qcow2")
    yield made
    clear(made)
    shutil.rmtree(folder)


def clear(world):
    """Remove what a test that failed has left."""
    installation = world.pool.name.removeprefix("slipway-")
    for facts in world.hypervisor.domains(installation):
        if facts.active:
            world.hypervisor.force_off(facts.uuid)
        world.hypervisor.undefine(facts.uuid)
    for network in world.node.networks.all():
        world.hypervisor.remove_network(network.name, network.filter_name)
    world.hypervisor.remove_firewall(f"slipway_{installation}")
    world.hypervisor.remove_pool(world.pool.name)
    world.hypervisor.close()


def killed(world, operation, place):
    """Carry an operation out with its worker dying there, and by another one to its end."""
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, place)
        with pytest.raises(Killed):
            runner.run(operation.pk, world.hypervisor)
    assert runner.run(operation.pk, world.hypervisor) is False  # its lease has not run out
    let_the_lease_run_out(operation)


def let_the_lease_run_out(operation):
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))


def answers(world, vm):
    try:
        world.hypervisor.agent(vm.domain_uuid, "guest-ping", timeout_seconds=2)
    except AgentUnavailable:
        return False
    return True


def ask(world, kind, vm):
    if vm is None:
        return services.request_create(world.actor("alice"), services.NewVm("web-1", "micro", "nano", "harbor"))[1]
    answer = getattr(services, f"request_{kind}")(world.actor("alice"), vm.pk)
    return answer[1] if isinstance(answer, tuple) else answer


@pytest.mark.timeout(300)
def test_workers_die_at_the_costliest_steps_on_real_qemu_F1(world):
    vm = None
    for kind in ("create", "stop", "start", "delete"):
        if kind == "stop":
            wait_for(partial(answers, world, vm), BOOTED_SECONDS, "the guest answers")
        operation = ask(world, kind, vm)
        for step, point in [(step, point) for of, step, point in PLACES if of == kind]:
            killed(world, operation, Place(kind, step, point))
        world.drain()
        operation.refresh_from_db()
        assert (operation.status, operation.error_code, operation.takeovers) == (
            "succeeded", "", sum(of == kind for of, *_rest in PLACES),
        )  # fmt: skip
        assert evaluate(world.hypervisor) == []
        vm = vm or VirtualMachine.objects.get()
        if kind in ("create", "start"):
            assert world.hypervisor.domain(vm.domain_uuid).state is DomainState.RUNNING
    assert world.hypervisor.domain(vm.domain_uuid) is None
    assert not VirtualMachine.objects.exists()
    assert list((Path(world.pool.path)).iterdir()) == []
    assert world.hypervisor.addresses(world.network.name) == {}
