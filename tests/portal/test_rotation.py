"""A node that fails leaves rotation by itself; what is counted about it can be read by machines."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from accounts.models import AuditEntry
from hypervisor import errors
from portal.node_agent.agent import AUDIT_EVERY, NodeAgent
from portal.node_agent.reaper import Reaper
from sandboxes import services as sandbox_services
from sandboxes import sweeps
from sandboxes.models import Template
from tests.portal.lab import make_lab, stub_gateway
from vms import services
from vms.models import Node, Operation
from vms.operations.leases import claim
from vms.placement import NoRoom
from vms.rotation import FAILURES_IN_A_ROW, STARTING


def fail_one(world, number, error=None):
    world.hypervisor.fail_next("ensure_volume", error or errors.NoSpace("full"))
    return world.vm(f"v-{number}")


def test_a_node_that_fails_five_starts_in_a_row_takes_no_more(world):
    for number in range(FAILURES_IN_A_ROW):
        assert not Node.objects.get().cordoned
        fail_one(world, number)
    node = Node.objects.get()
    assert node.cordoned
    assert "5 starts in a row failed here" in node.cordon_reason
    [entry] = AuditEntry.objects.filter(action="node.cordon")
    assert (entry.actor, entry.target_id, entry.data["reason"]) == (None, node.pk, node.cordon_reason)
    with pytest.raises(NoRoom):
        world.vm("one-more")


@pytest.fixture
def lab(world, monkeypatch):
    stub_gateway(monkeypatch)
    lab = make_lab(world)
    lab.prepared()
    return lab


def starting(lab, kind):
    """Return what asks for an operation of this kind, again and again, and the call of the hypervisor that it needs."""
    alice, admin = lab.world.actor("alice"), lab.world.actor("admin")
    if kind == "start":
        vm = lab.world.vm()
        services.request_stop(alice, vm.pk)
        lab.world.drain()
        return "start", lambda _number: services.request_start(alice, vm.pk)
    if kind == "prepare":
        return "freeze", lambda _number: sandbox_services.request_prepare(admin, lab.template.pk)
    if kind == "clone":
        return "clone", lambda number: lab.sandbox(f"box-{number}", drain=False)
    if kind == "spare":
        Template.objects.update(pool_size=1)
        return "clone", lambda _number: sweeps.tend_pools()
    if kind == "claim":
        lab.spares(FAILURES_IN_A_ROW)
        return "resume", lambda number: lab.sandbox(f"box-{number}", drain=False)
    box = lab.sandbox()
    if kind == "reset":
        return "clone", lambda _number: sandbox_services.request_reset(alice, box.vm_id)
    sandbox_services.request_pause(alice, box.vm_id)
    lab.world.drain()
    return "start", lambda _number: sandbox_services.request_resume(alice, box.vm_id)


@pytest.mark.parametrize("kind", sorted(set(STARTING) - {"create"}))
def test_every_kind_that_starts_a_domain_counts(lab, kind):
    call, ask = starting(lab, kind)
    for number in range(FAILURES_IN_A_ROW):
        assert not Node.objects.get().cordoned
        lab.world.hypervisor.fail_next(call, errors.NoSpace("full"))
        ask(number)
        lab.world.drain()
        newest = Operation.objects.exclude(kind="delete").order_by("-created_at").first()
        assert (newest.kind, newest.status, newest.error_code) == (kind, "failed", "pool_full")
    assert "5 starts in a row failed here" in Node.objects.get().cordon_reason


def test_one_that_works_in_between_starts_the_count_again(world):
    for number in range(FAILURES_IN_A_ROW - 1):
        fail_one(world, number)
    world.vm("good")
    fail_one(world, "after")
    assert not Node.objects.get().cordoned


def test_what_guests_and_people_bring_about_is_not_the_nodes_fault(world, settings, monkeypatch):
    settings.AGENT_WAIT = timedelta(seconds=0.01)

    def silent(*_args, **_kwargs):
        raise errors.AgentUnavailable("silent")

    monkeypatch.setattr(world.hypervisor, "agent", silent)
    for number in range(FAILURES_IN_A_ROW + 1):
        assert world.vm(f"v-{number}").operations.get().error_code == "guest_timeout"
    assert not Node.objects.get().cordoned


def test_whoever_puts_it_back_gets_five_new_tries(world):
    for number in range(FAILURES_IN_A_ROW):
        fail_one(world, number)
    services.request_uncordon(world.actor("admin"), world.node.pk)
    fail_one(world, "next")
    assert not Node.objects.get().cordoned


def test_takeovers_and_breaches_are_counted_for_metrics(world):
    vm = world.vm(drain=False)
    operation = vm.operations.get()
    claim(operation.pk, "one that dies")
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))
    world.drain()
    agent = NodeAgent(world.hypervisor, events=None)
    agent.node, agent._reaper = world.node, Reaper(world.node, world.hypervisor)
    world.hypervisor.ensure_address(world.network.name, "52:54:00:00:00:01", "10.71.0.99")
    for _time in range(2 * AUDIT_EVERY):
        agent.resync()
    text = world.api("admin").get("/metrics").content.decode()
    assert "slipway_lease_takeovers 1.0" in text
    assert 'slipway_audit_breaches{node="node-1"} 1.0' in text
    world.hypervisor.remove_address(world.network.name, "52:54:00:00:00:01")
    for _time in range(AUDIT_EVERY):
        agent.resync()
    assert Node.objects.get().breaches == 0


def test_a_defect_of_ours_ends_with_a_reason_and_stops_nothing_else(world, monkeypatch):
    from vms.operations import runner

    def broken(_context):
        raise KeyError("a defect")

    monkeypatch.setitem(runner.HANDLERS, "disk", broken)
    operation = world.vm().operations.get()
    assert (operation.status, operation.error_code) == ("failed", "hypervisor_error")
    assert "KeyError" in operation.staff_detail
