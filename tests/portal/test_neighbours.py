"""I8: what goes wrong with one tenant's machines has no effect that another tenant could see."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections

from accounts.refusals import InvalidState
from hypervisor.errors import NoSpace
from hypervisor.specs import DomainState
from portal.invariants import evaluate
from tests.portal.consoles import ticket
from tests.portal.world import make_world
from vms import console_access, quotas, services
from vms.models import Node, Operation, VirtualMachine
from vms.operations import runner

IN_TIME_SECONDS = 20.0  # for what takes a tenth of that on an idle machine


@pytest.fixture
def shared_world(transactional_db):
    return make_world()


def goes_on(world, who="alice"):
    """Let a tenant do what people do all day, each of it with its end; return its new machine."""
    began = time.monotonic()
    vm, create = services.request_create(
        world.actor(who), services.NewVm(name="web-9", image="micro", flavor="nano", project="harbor")
    )
    assert runner.run(create.pk, world.hypervisor)
    create.refresh_from_db()
    assert (create.status, create.attempt) == ("succeeded", 1)
    vm.refresh_from_db()
    grant = console_access.redeem(ticket(world, who, vm).ticket, vm_id=vm.pk, kind="vnc", node="node-1")
    console_access.close(grant)
    listed = world.api(who).call("GET", "vms")
    assert (listed.status_code, {row["status"] for row in listed.json()["items"]}) == (200, {"running"})
    operation = services.request_pause(world.actor(who), vm.pk)[1]
    assert runner.run(operation.pk, world.hypervisor)
    operation.refresh_from_db()
    assert operation.status == "succeeded"
    assert time.monotonic() - began < IN_TIME_SECONDS
    return vm


class Hangs:
    """The fake, whose calls for one domain do not come back until they are let go."""

    def __init__(self, fake, uuid):
        self.fake, self.uuid = fake, uuid
        self.hung, self.go = threading.Event(), threading.Event()

    def __getattr__(self, verb):
        really = getattr(self.fake, verb)

        def call(*args, **options):
            if args and args[0] == self.uuid:
                self.hung.set()
                assert self.go.wait(60)
            return really(*args, **options)

        return call


def test_a_call_that_hangs_for_one_tenants_machine_keeps_no_other_waiting_I8(shared_world):
    world = shared_world
    theirs = world.vm("web-1", by="charlie", project=None)
    operation = services.request_reboot(world.actor("charlie"), theirs.pk)[1]
    hangs = Hangs(world.hypervisor, theirs.domain_uuid)

    def carry_out():
        try:
            return runner.run(operation.pk, hangs)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(carry_out)
        try:
            assert hangs.hung.wait(20)
            goes_on(world)
            assert Operation.objects.get(pk=operation.pk).status == "running"  # it hung all the while
        finally:
            hangs.go.set()
        assert work.result(60)
    world.drain()
    assert Operation.objects.get(pk=operation.pk).status == "succeeded"
    assert evaluate(world.hypervisor) == []


def full(world, vm):
    """The guest has filled its disk, and stands still."""
    world.hypervisor.happen(vm.domain_uuid, DomainState.PAUSED, "io_error")


def panicked(world, vm):
    world.hypervisor.happen(vm.domain_uuid, DomainState.CRASHED, "panicked")


def deaf(world, vm):
    """The guest heeds neither buttons nor its agent."""
    world.hypervisor.set_deaf(vm.domain_uuid)
    world.hypervisor.set_mute(vm.domain_uuid)


def lost(world, vm):
    """Its disk has gone, and what is asked of it fails."""
    volume = vm.volumes.get()
    world.hypervisor.lose_volume(volume.pool.name, volume.file_name)
    world.hypervisor.happen(vm.domain_uuid, DomainState.STOPPED, "destroyed")


@pytest.mark.parametrize("fault", [full, panicked, deaf, lost], ids=lambda fault: fault.__name__)
def test_a_tenants_broken_machine_changes_nothing_for_another_I8(world, settings, fault):
    settings.STOP_WAIT = settings.AGENT_WAIT = timedelta(seconds=0.05)
    mine = world.vm("web-1")
    theirs = world.vm("web-1", by="charlie", project=None)
    before = (quotas.usage(world.harbor), versions(world.harbor))
    fault(world, theirs)
    for verb in ("stop", "reboot", "start"):
        try:
            getattr(services, f"request_{verb}")(world.actor("charlie"), theirs.pk)
        except InvalidState:
            continue
        world.drain()
    assert (quotas.usage(world.harbor), versions(world.harbor)) == before
    assert world.hypervisor.domain(mine.domain_uuid).state == "running"
    goes_on(world)


def versions(project):
    return dict(VirtualMachine.objects.filter(project=project).values_list("pk", "version"))


def test_guests_that_never_answer_take_no_node_from_others_I8(world, settings):
    """A node that fails five starts in a row takes no more: but not where the guests, a tenant's own, are at fault."""
    settings.AGENT_WAIT = timedelta(seconds=0.01)
    for number in range(6):
        vm = world.vm(f"web-{number}", by="charlie", project=None, drain=False)
        world.hypervisor.set_mute(vm.domain_uuid)
        world.drain()
    assert set(Operation.objects.values_list("status", "error_code")) == {("failed", "guest_timeout")}
    assert not Node.objects.get().cordoned
    goes_on(world)


def test_room_that_one_tenant_lacks_is_no_others_fault_I8(world):
    """The operation that met a full pool ends; the next tenant's finds the room that there is then."""
    world.hypervisor.fail_next("ensure_volume", NoSpace("full"))
    theirs = world.vm("web-1", by="charlie", project=None)
    assert theirs.operations.get().error_code == "pool_full"
    assert quotas.usage(world.harbor)["vms"] == 0
    goes_on(world)
    assert evaluate(world.hypervisor) == []
