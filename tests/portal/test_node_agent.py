"""The node agent on the fake host: what happens behind our back is seen, followed, and never guessed at."""

import asyncio
import contextlib
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import AuditEntry
from hypervisor import errors
from hypervisor.specs import DomainEvent, DomainState
from portal.invariants import evaluate
from portal.node_agent import agent as module
from portal.node_agent.agent import NodeAgent
from portal.node_agent.reaper import Reaper
from tests.portal.lab import make_lab, stub_gateway
from vms import observer, services
from vms.models import Network, Node, StoragePool, VirtualMachine
from vms.operations import blueprint


@pytest.fixture
def agent(world):
    agent = NodeAgent(world.hypervisor, events=None)
    agent.node = world.node
    agent._reaper = Reaper(world.node, world.hypervisor)
    return agent


def seen(vm):
    vm = VirtualMachine.objects.select_related("node").get(pk=vm.pk)
    return vm.desired_state, vm.observed_state, vm.observed_reason


def test_registering_writes_the_host_its_pool_and_its_network_once(db, settings):
    from hypervisor.fake import FakeHypervisor

    settings.SUBNET = "10.99.0.0/24"
    hypervisor = FakeHypervisor()
    for _time in range(2):
        NodeAgent(hypervisor, events=None).resync()
    node = Node.objects.get()
    assert node.addresses == "192.0.2.7"
    assert (node.name, node.virt_type, node.hypervisor_ok) == (settings.NODE_NAME, "qemu", True)
    assert timezone.now() - node.synced_at < timedelta(seconds=30)
    assert StoragePool.objects.get().free_bytes > 0
    assert {network.kind for network in Network.objects.all()} == {"vms", "nat", "isolated"}
    assert Network.objects.get(kind="vms").subnet == "10.99.0.0/24"
    [firewall] = hypervisor._host.firewalls.values()
    assert {(rule.outside, rule.private, bool(rule.gateway)) for rule in firewall.bridges} == {
        (True, True, True), (True, False, True), (False, False, False),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "reason", "becomes"),
    [
        (DomainState.STOPPED, "shutdown", ("stopped", "stopped", "")),
        (DomainState.STOPPED, "destroyed", ("stopped", "stopped", "")),
        (DomainState.CRASHED, "panicked", ("stopped", "crashed", "panicked")),
        (DomainState.PAUSED, "user", ("paused", "paused", "")),
        (DomainState.PAUSED, "io_error", ("paused", "paused", "io_error")),
    ],
)
def test_what_happens_behind_our_back_is_seen_and_followed_F16(world, agent, state, reason, becomes):
    vm = world.vm()
    world.hypervisor.happen(vm.domain_uuid, state, reason)
    agent.observe_domain(vm.domain_uuid)
    assert seen(vm) == becomes
    assert AuditEntry.objects.filter(action="vm.follow", target_id=vm.pk, actor=None).count() == 1


def test_nothing_restarts_by_itself(world, agent):
    vm = world.vm()
    world.hypervisor.happen(vm.domain_uuid, DomainState.STOPPED, "shutdown")
    agent.resync()
    world.drain()
    assert world.hypervisor.domain(vm.domain_uuid).state is DomainState.STOPPED


def test_a_comparison_that_breaks_off_has_let_the_wish_follow_what_it_stored_F5(world, agent, monkeypatch):
    vms = [world.vm(f"v-{number}") for number in range(2)]
    for vm in vms:
        world.hypervisor.happen(vm.domain_uuid, DomainState.STOPPED, "shutdown")
    look, looks = world.hypervisor.domain, iter((0, 1))

    def once(uuid):
        if next(looks) == 0:
            return look(uuid)
        raise errors.Unavailable("it died meanwhile")

    monkeypatch.setattr(world.hypervisor, "domain", once)
    with pytest.raises(errors.Unavailable):
        agent.resync()
    monkeypatch.undo()
    assert sorted(seen(vm) for vm in vms) == [("running", "running", ""), ("stopped", "stopped", "")]
    agent.resync()
    assert {seen(vm) for vm in vms} == {("stopped", "stopped", "")}


def test_a_lost_event_is_made_up_for_by_the_next_comparison_F24(world, agent):
    world.hypervisor.drop_events = True
    vm = world.vm()
    world.hypervisor.happen(vm.domain_uuid, DomainState.STOPPED, "shutdown")
    agent.resync()
    assert seen(vm) == ("stopped", "stopped", "")


def test_an_undefined_domain_is_missing_and_not_made_again_silently_F17(world, agent):
    vm = world.vm()
    world.hypervisor.happen(vm.domain_uuid, DomainState.STOPPED)
    world.hypervisor.vanish(vm.domain_uuid)
    agent.resync()
    agent.resync()
    assert seen(vm) == ("stopped", "absent", "domain_missing")
    assert world.hypervisor.domain(vm.domain_uuid) is None
    assert [volume.name for volume in world.hypervisor.volumes(world.pool.name)]  # its disk is kept
    services.request_start(world.actor("alice"), vm.pk)
    world.drain()
    assert seen(vm) == ("running", "running", "")


def test_a_lost_disk_is_said_and_comes_back_when_it_does_F18(world, agent):
    vm = world.vm()
    world.hypervisor.lose_volume(world.pool.name, vm.volumes.get().file_name)
    agent.resync()
    assert seen(vm) == ("running", "running", "storage_missing")
    world.hypervisor.ensure_volume(blueprint.volume_spec(vm.volumes.get()))
    agent.resync()
    assert seen(vm) == ("running", "running", "")


def test_a_foreign_device_is_told_to_staff_once_and_forgotten_when_it_goes_F17(world, agent):
    vm = world.vm()
    page = world.browser("admin")
    agent.resync()
    assert VirtualMachine.objects.get(pk=vm.pk).foreign_devices == ""
    world.hypervisor.attach(vm.domain_uuid, "hostdev", "disk /dev/sda")
    for _event in range(2):
        agent._rebuilt.add(vm.domain_uuid)
        agent.observe_domain(vm.domain_uuid)
    assert VirtualMachine.objects.get(pk=vm.pk).foreign_devices == "disk /dev/sda, hostdev"
    [entry] = AuditEntry.objects.filter(action="vm.foreign_devices", target_id=vm.pk)
    assert entry.data == {"devices": "disk /dev/sda, hostdev"}
    desk = page.get("/admin-desk/").content.decode()
    assert "has devices that Slipway did not give it" in desk
    assert "disk /dev/sda, hostdev" in desk
    assert seen(vm) == ("running", "running", "")  # nothing is taken away from a machine that runs
    world.hypervisor.attach(vm.domain_uuid)
    agent._compared = 0
    agent.resync()  # the event was lost
    assert VirtualMachine.objects.get(pk=vm.pk).foreign_devices == ""
    assert "has devices that" not in page.get("/admin-desk/").content.decode()


def test_the_next_start_leaves_a_foreign_device_out_F17(world, agent):
    vm = world.vm()
    world.hypervisor.happen(vm.domain_uuid, DomainState.STOPPED, "shutdown")
    world.hypervisor.attach(vm.domain_uuid, "filesystem")
    agent.resync()
    assert VirtualMachine.objects.get(pk=vm.pk).foreign_devices == "filesystem"
    services.request_start(world.actor("alice"), vm.pk)
    world.drain()
    agent._compared = 0
    agent.resync()
    assert VirtualMachine.objects.get(pk=vm.pk).foreign_devices == ""


@pytest.mark.parametrize("to_nothing", [False, True])
def test_a_disk_that_was_cut_off_is_as_good_as_lost_and_nothing_new_takes_its_place_F18(world, agent, to_nothing):
    vm = world.vm()
    world.hypervisor.happen(vm.domain_uuid, DomainState.STOPPED, "shutdown")
    world.hypervisor.cut_volume(world.pool.name, vm.volumes.get().file_name, to_nothing=to_nothing)
    agent.resync()
    assert seen(vm) == ("stopped", "stopped", "storage_missing")
    _vm, start = services.request_start(world.actor("alice"), vm.pk)
    world.drain()
    start.refresh_from_db()
    assert (start.status, start.error_code) == ("failed", "storage_missing")
    delete = services.request_delete(world.actor("alice"), vm.pk)
    world.drain()
    delete.refresh_from_db()
    assert delete.status == "succeeded"


def test_an_absent_libvirt_makes_no_machine_stopped_F10(world, agent):
    vm = world.vm()
    world.hypervisor.set_away(True)
    with pytest.raises(errors.Unavailable):
        agent.resync()
    world.node.refresh_from_db()
    assert world.node.hypervisor_ok is False
    assert seen(vm) == ("running", "running", "")
    world.hypervisor.set_away(False)
    agent.resync()
    world.node.refresh_from_db()
    assert world.node.hypervisor_ok is True


def test_a_row_is_written_only_when_something_changed(world, agent, django_assert_num_queries):
    for number in range(5):
        world.vm(f"v-{number}")
    versions = list(VirtualMachine.objects.values_list("version", flat=True))
    with django_assert_num_queries(3):  # the samples, the rows, and the node's time
        assert observer.sync(world.node, world.hypervisor) == []
    assert list(VirtualMachine.objects.values_list("version", flat=True)) == versions


def test_a_machine_in_the_making_is_not_missed(world, agent):
    vm = world.vm(drain=False)
    agent.resync()
    assert seen(vm) == ("running", "absent", "")
    world.drain()


# --- the reaper -----------------------------------------------------------------------------------------------
def orphan(world, vm):
    """Let a delete succeed, and its domain and disk come back, as a worker that was overtaken might do."""
    spec = blueprint.domain_spec(vm, list(vm.volumes.select_related("pool", "base_image")))
    volume = blueprint.volume_spec(vm.volumes.get())
    services.request_delete(world.actor("alice"), vm.pk)
    world.drain()
    world.hypervisor.ensure_volume(volume)
    world.hypervisor.define(spec)
    world.hypervisor.start(spec.uuid)
    return spec, volume


def test_what_a_delete_left_behind_is_reaped_when_it_was_seen_twice(world, agent):
    spec, volume = orphan(world, world.vm())
    assert {breach.code for breach in evaluate(world.hypervisor)} == {"I1", "I6"}
    agent.resync()
    assert world.hypervisor.domain(spec.uuid) is not None
    agent.resync()
    assert world.hypervisor.domain(spec.uuid) is None
    assert world.hypervisor.volume(volume.pool, volume.name) is None
    assert evaluate(world.hypervisor) == []


def test_a_card_that_may_still_send_is_reaped_though_dhcp_has_forgotten_it_A16(world, agent, monkeypatch):
    stub_gateway(monkeypatch)
    lab = make_lab(world)
    lab.prepared()
    box = lab.sandbox()
    card = box.vm.nics.select_related("network").get()
    services.request_delete(world.actor("alice"), box.vm_id)
    world.drain()
    assert evaluate(world.hypervisor) == []
    world.hypervisor._host.networks[card.network.name].guests[card.mac] = card.address
    assert {breach.code for breach in evaluate(world.hypervisor)} == {"I1"}
    agent.resync()
    agent.resync()
    assert evaluate(world.hypervisor) == []


def test_what_the_journal_does_not_know_is_never_touched(world, agent):
    """The database was lost and made anew: the guests and disks of the old one must survive it."""
    spec, volume = orphan(world, world.vm())
    from vms.models import Operation

    Operation.objects.all().delete()
    for _time in range(3):
        agent.resync()
    assert world.hypervisor.domain(spec.uuid) is not None
    assert world.hypervisor.volume(volume.pool, volume.name) is not None
    assert {breach.code for breach in evaluate(world.hypervisor)} >= {"I1"}


# --- the loop -------------------------------------------------------------------------------------------------
class Script:
    """An event source that says what it was given and then waits."""

    def __init__(self, *events):
        self.events = events

    async def listen(self):
        for event in self.events:
            yield event
        await asyncio.Event().wait()


@pytest.mark.django_db(transaction=True)
async def test_events_are_read_again_and_a_connect_compares_everything(monkeypatch):
    from uuid import uuid4

    done: list[str] = []
    finished = asyncio.Event()
    loop = asyncio.get_running_loop()
    gone = uuid4()

    def note(what):
        done.append(what)
        if len(done) >= 3:
            loop.call_soon_threadsafe(finished.set)

    agent = NodeAgent(hypervisor=None, events=Script(None, DomainEvent(gone, "lifecycle"), DomainEvent(gone, "reboot")))
    monkeypatch.setattr(agent, "resync", lambda: note("resync"))
    monkeypatch.setattr(agent, "observe_domain", lambda uuid: note(f"observe {uuid}"))
    task = asyncio.ensure_future(agent.run())
    await asyncio.wait_for(finished.wait(), 10)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert done.count(f"observe {gone}") == 1  # two events of one domain cost one reading
    assert done.count("resync") == 2


def test_a_machine_that_an_operation_works_on_is_put_off_once_and_then_read_whatever_happens(world, agent, monkeypatch):
    vm, read = world.vm(), []
    monkeypatch.setattr(agent, "observe_domain", read.append)
    services.request_stop(world.actor("alice"), vm.pk)
    vm.operations.filter(kind="stop").update(status="running")
    agent._look_again(vm.domain_uuid)
    assert (read, agent._put_off) == ([], {vm.domain_uuid})
    agent._take_up(vm.domain_uuid)
    agent._look_again(vm.domain_uuid)
    assert (read, agent._put_off) == ([vm.domain_uuid], set())
    vm.operations.filter(kind="stop").update(status="succeeded")
    agent._look_again(vm.domain_uuid)
    assert read == [vm.domain_uuid] * 2


async def test_what_was_put_off_is_taken_up_by_itself(monkeypatch):
    from uuid import uuid4

    busy, calls, read = uuid4(), [], asyncio.Event()
    loop = asyncio.get_running_loop()
    agent = NodeAgent(hypervisor=None, events=Script(DomainEvent(busy, "started"), DomainEvent(busy, "lifecycle")))

    def look_again(uuid):
        calls.append(uuid)
        if uuid not in agent._due:
            agent._put_off.add(uuid)
        else:
            loop.call_soon_threadsafe(read.set)

    monkeypatch.setattr(module, "PUT_OFF_SECONDS", 0.05)
    monkeypatch.setattr(agent, "resync", lambda: None)
    monkeypatch.setattr(agent, "_look_again", look_again)
    task = asyncio.ensure_future(agent.run())
    await asyncio.wait_for(read.wait(), 10)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert calls == [busy, busy]
