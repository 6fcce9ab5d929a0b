"""Templates, clones, the warm pool, reset: through the services, carried out on the fake hypervisor."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from accounts.refusals import InvalidState, QuotaExceeded
from hypervisor import errors
from hypervisor.fake_clones import OWN_BYTES
from hypervisor.specs import DomainState
from portal.invariants import evaluate
from portal.node_agent.register import ensure_network
from sandboxes import pool, services, sweeps
from sandboxes.models import Run, Sandbox, Template, TemplateBuild
from tests.portal.lab import make_lab, stub_gateway
from tests.portal.test_faults_fake import Killed, Place, die_at
from vms import observer, quotas
from vms import services as vm_services
from vms.models import Node, Operation, VirtualMachine
from vms.operations import runner
from vms.states import Role


@pytest.fixture(autouse=True)
def started(monkeypatch):
    """Return the runs that the gateway was told to begin."""
    return stub_gateway(monkeypatch)


@pytest.fixture
def lab(world):
    return make_lab(world)


def domain(lab, sandbox):
    return lab.world.hypervisor._host.domains[sandbox.vm.domain_uuid]


def test_a_template_is_prepared_and_its_builder_goes(lab):
    build = lab.prepared()
    assert build.fingerprint == lab.world.node.fingerprint
    assert build.ram_bytes > 0
    assert build.frozen_at
    assert not VirtualMachine.objects.filter(role=Role.BUILDER).exists()
    assert lab.world.hypervisor._host.domains == {}
    assert evaluate(lab.world.hypervisor) == []


def test_a_sandbox_is_cloned_and_has_its_own_identity(lab):
    build = lab.prepared()
    one, two = lab.sandbox("box-1"), lab.sandbox("box-2")
    assert [lab.operation(box).kind for box in (one, two)] == ["clone", "clone"]
    assert (one.build, one.plain_reason, one.vm.observed_state) == (build, "", "running")
    first, second = domain(lab, one).identity, domain(lab, two).identity
    assert first.hostname == "box-1"
    for field in ("seed", "mac", "address", "hostname", "machine_id", "ssh_keys"):
        assert getattr(first, field) != getattr(second, field)
    assert evaluate(lab.world.hypervisor) == []


def half_made(lab, monkeypatch, operation):
    """Run it until its worker is killed within the making of a clone; the next one finds the lease run out."""

    def killed(spec, _folder, _share_ram):
        lab.world.hypervisor.half_make(spec)
        raise Killed

    with monkeypatch.context() as patch:
        die_at(patch, Place("clone", "", "before the end"))
        patch.setattr(lab.world.hypervisor, "clone", killed)
        with pytest.raises(Killed):
            runner.run(operation.pk, lab.world.hypervisor)
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))


def test_a_clone_whose_maker_was_killed_in_the_middle_of_it_is_made_anew_F1(lab, monkeypatch):
    build = lab.prepared()
    box = lab.sandbox(drain=False)
    half_made(lab, monkeypatch, lab.operation(box))
    assert lab.world.hypervisor.state(box.vm.domain_uuid) is DomainState.PAUSED
    lab.world.drain()
    box = lab.again(box)
    assert (box.build, lab.operation(box).status, box.vm.observed_state) == (build, "succeeded", "running")
    assert domain(lab, box).persistent
    assert domain(lab, box).identity.hostname == "box-1"
    assert evaluate(lab.world.hypervisor) == []


def test_a_template_that_is_not_prepared_is_booted_and_says_so(lab):
    box = lab.sandbox()
    assert lab.operation(box).kind == "create"
    assert "has not been prepared" in box.plain_reason
    assert (box.build, box.vm.observed_state) == (None, "running")


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (lambda lab: lab.world.hypervisor.set_command(3, "3\n"), "ready_script_failed"),
        (lambda lab: lab.world.hypervisor.fail_next("freeze", errors.NoSpace("full")), "pool_full"),
    ],
)
def test_a_template_that_cannot_be_prepared_says_why_and_sandboxes_boot(lab, trouble, reason):
    Template.objects.filter(pk=lab.template.pk).update(ready_script="#!/bin/sh\nexit 3\n")
    trouble(lab)
    services.request_prepare(lab.world.actor("admin"), lab.template.pk)
    lab.world.drain()
    build = TemplateBuild.objects.get()
    assert (build.status, build.reason) == ("failed", reason)
    assert build.reason_detail
    assert bool(build.screenshot) is (reason == "ready_script_failed")
    assert not VirtualMachine.objects.exists()
    box = lab.sandbox()
    assert build.reason_detail in box.plain_reason
    assert evaluate(lab.world.hypervisor) == []


def test_a_spare_is_handed_out_and_counted_from_then_on(lab):
    lab.prepared()
    [spare] = lab.spares()
    assert domain(lab, spare).state is DomainState.PAUSED
    assert set(quotas.usage(lab.world.harbor).values()) == {0}
    box = lab.sandbox()
    assert (box.pk, box.claimed, lab.operation(box).kind) == (spare.pk, True, "claim")
    assert (box.vm.observed_state, box.vm.project, box.vm.name) == ("running", lab.world.harbor, "box-1")
    assert domain(lab, box).identity.hostname == "box-1"
    used = quotas.usage(lab.world.harbor)
    assert (used["sandboxes"], used["vms"], used["running_vms"], used["sandbox_minutes"]) == (1, 0, 1, 60)
    assert lab.sandbox("box-2").claimed is False
    assert evaluate(lab.world.hypervisor) == []


def test_what_a_build_takes_is_measured_while_it_is_made_and_used(lab):
    build = lab.prepared()
    assert build.boot_ms is not None
    assert (build.ready_ms, build.idle_mib) == (None, None)
    lab.spares()
    build.refresh_from_db()
    assert (build.ready_ms, build.idle_mib) == (None, OWN_BYTES // 2**20)
    lab.sandbox()
    build.refresh_from_db()
    assert build.ready_ms is not None


def test_a_refused_claim_leaves_the_spare(lab):
    lab.prepared()
    [spare] = lab.spares()
    from accounts.services import set_limits

    set_limits(lab.world.actor("admin"), lab.world.harbor, {"sandboxes": 0})
    with pytest.raises(QuotaExceeded):
        lab.sandbox()
    assert lab.again(spare).vm.role == Role.SPARE


@pytest.mark.parametrize("killed", [False, True], ids=["at once", "by the next worker"])
def test_a_spare_that_died_while_it_waited_is_made_anew_for_its_claimer_F1(lab, monkeypatch, killed):
    lab.prepared()
    [spare] = lab.spares()
    box = lab.sandbox(drain=False)
    lab.world.hypervisor.happen(spare.vm.domain_uuid, DomainState.STOPPED, "crashed")
    if killed:
        half_made(lab, monkeypatch, lab.operation(box))
    lab.world.drain()
    box = lab.again(box)
    assert (lab.operation(box).kind, lab.operation(box).status, box.vm.observed_state) == (
        "claim",
        "succeeded",
        "running",
    )
    assert domain(lab, box).persistent
    assert domain(lab, box).identity.ssh_keys  # the template was frozen without
    assert evaluate(lab.world.hypervisor) == []


def test_a_reset_puts_another_domain_under_the_same_machine(lab):
    lab.prepared()
    box = lab.sandbox()
    before, address = box.vm.domain_uuid, box.vm.nics.get().address
    run = lab.run(box)
    services.request_reset(lab.world.actor("alice"), box.vm_id)
    lab.world.drain()
    after = lab.again(box)
    assert after.vm.pk == box.vm.pk
    assert after.vm.domain_uuid != before
    assert after.vm.nics.get().address == address
    assert (after.vm.observed_state, lab.operation(after).status) == ("running", "succeeded")
    assert lab.world.hypervisor.domain(before) is None
    assert not VirtualMachine.objects.exclude(pk=box.vm_id).exists()
    run.refresh_from_db()
    assert (run.status, run.error_code) == ("lost", "reset")
    assert evaluate(lab.world.hypervisor) == []


def test_a_reset_takes_a_waiting_clone_and_keeps_the_address(lab):
    lab.prepared()
    box = lab.sandbox()
    [spare] = lab.spares()
    old, waiting = box.vm.domain_uuid, spare.vm.domain_uuid
    card, others = box.vm.nics.get(), spare.vm.nics.get()
    _, operation = services.request_reset(lab.world.actor("alice"), box.vm_id)
    assert operation.data["exchanged"] is True
    assert pool.claim([spare.build], box.network, project=lab.world.harbor, user=box.vm.created_by, name="b") is None
    lab.world.drain()
    after = lab.again(box)
    assert (after.vm.domain_uuid, after.vm.name, after.vm.observed_state) == (waiting, "box-1", "running")
    assert (after.vm.nics.get().address, after.vm.nics.get().mac) == (card.address, others.mac)
    assert domain(lab, after).identity.address == card.address
    assert domain(lab, after).identity.hostname == "box-1"
    assert lab.world.hypervisor.domain(old) is None
    assert lab.world.hypervisor.addresses(card.network.name) == {others.mac: card.address}
    assert list(VirtualMachine.objects.values_list("pk", flat=True)) == [box.vm_id]
    assert evaluate(lab.world.hypervisor) == []


def test_a_clone_on_another_network_is_not_taken_by_a_reset(lab):
    lab.prepared()
    box = lab.sandbox(network="isolated")
    lab.spares()
    _, operation = services.request_reset(lab.world.actor("alice"), box.vm_id)
    assert operation.data["exchanged"] is False
    lab.world.drain()
    assert lab.again(box).vm.observed_state == "running"
    assert VirtualMachine.objects.filter(role=Role.SPARE).count() == 1
    assert evaluate(lab.world.hypervisor) == []


def test_a_clone_that_a_broken_reset_left_without_a_name_is_not_let_go_on(lab):
    lab.prepared()
    box = lab.sandbox()
    lab.spares()
    alice = lab.world.actor("alice")
    _, operation = services.request_reset(alice, box.vm_id)
    Operation.objects.filter(pk=operation.pk).update(deadline_at=timezone.now() - timedelta(seconds=1))
    lab.world.drain()
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "deadline")
    assert lab.again(box).vm.observed_state == "paused"
    for resume in (services.request_resume, vm_services.request_resume):
        with pytest.raises(InvalidState):
            resume(alice, box.vm_id)
    services.request_reset(alice, box.vm_id)
    lab.world.drain()
    assert lab.again(box).vm.observed_state == "running"
    assert evaluate(lab.world.hypervisor) == []


def test_what_was_read_of_the_domain_before_a_reset_is_not_told_of_the_next(lab):
    lab.prepared()
    box = lab.sandbox()
    before = box.vm.domain_uuid
    services.request_reset(lab.world.actor("alice"), box.vm_id)
    lab.world.drain()
    assert observer.observe(box.vm_id, before, None) is False
    assert lab.again(box).vm.observed_state == "running"


def test_a_node_registers_while_a_reset_exchanges_cards(lab, monkeypatch):
    lab.prepared()
    box = lab.sandbox()
    lab.spares()
    services.request_reset(lab.world.actor("alice"), box.vm_id)
    network = box.vm.nics.get().network
    given = lab.world.hypervisor.addresses(network.name)
    monkeypatch.setattr(lab.world.hypervisor, "ensure_network", lambda _spec: None)  # its networks are the lab's
    ensure_network(lab.world.node, lab.world.hypervisor, network.kind)
    assert lab.world.hypervisor.addresses(network.name) == given
    lab.world.drain()
    assert evaluate(lab.world.hypervisor) == []


def test_an_address_that_a_reset_left_on_another_card_comes_back(lab):
    lab.prepared()
    box = lab.sandbox()
    card = box.vm.nics.select_related("network").get()
    lab.world.hypervisor.remove_address(card.network.name, card.mac)
    lab.world.hypervisor.ensure_address(card.network.name, "52:54:00:00:00:01", card.address)
    services.request_reset(lab.world.actor("alice"), box.vm_id)
    lab.world.drain()
    found = lab.world.hypervisor.addresses(card.network.name)
    assert found == {box.vm.nics.get().mac: card.address}


def test_a_sandbox_that_was_booted_is_reset_by_a_clone_once_its_template_is_prepared(lab):
    box = lab.sandbox()
    lab.prepared()
    services.request_reset(lab.world.actor("alice"), box.vm_id)
    lab.world.drain()
    assert lab.again(box).build is not None
    assert evaluate(lab.world.hypervisor) == []


def test_a_run_that_is_posted_early_begins_once_the_clone_is_itself(lab, started):
    lab.prepared()
    box = lab.sandbox(drain=False)
    run = lab.run(box)
    assert (run.status, started) == ("pending", [])
    lab.world.drain()
    assert started == [run.pk]


def test_a_run_in_a_running_sandbox_begins_at_once(lab, started, django_capture_on_commit_callbacks):
    box = lab.sandbox()
    with django_capture_on_commit_callbacks(execute=True):
        run = lab.run(box, "echo hello", env={"A": "b"}, cwd="/tmp")
    assert started == [run.pk]
    assert Run.objects.get().argv == ["/bin/sh", "-c", "echo hello"]


@pytest.mark.parametrize("end", ["killed", "not_started", "guest_stopped"])
def test_whoever_ends_a_run_hints_those_who_look_at_its_machine(lab, end):
    box = lab.sandbox()
    run = lab.run(box)
    if end == "not_started":
        Run.objects.update(created_at=timezone.now() - timedelta(hours=1))
    if end == "guest_stopped":
        Run.objects.update(status="running", started_at=timezone.now() - timedelta(minutes=1))
    before = VirtualMachine.objects.get(pk=box.vm_id).version
    if end == "killed":
        services.request_kill(lab.world.actor("alice"), run.pk)
    else:
        sweeps.tend_runs()
    run.refresh_from_db()
    assert (run.is_live, run.error_code) == (False, "" if end == "killed" else end)
    assert VirtualMachine.objects.get(pk=box.vm_id).version == before + 1


@pytest.mark.parametrize("network", ["none", "isolated", "nat"])
def test_the_network_that_was_chosen(lab, network):
    lab.prepared()
    box = lab.sandbox(network=network)
    [nic] = domain(lab, box).spec.nics
    assert nic.linked is (network != "none")
    assert nic.network.endswith(network) or network == "none"
    assert evaluate(lab.world.hypervisor) == []


def test_deleting_gives_everything_back(lab):
    lab.prepared()
    box = lab.sandbox()
    services.request_delete(lab.world.actor("alice"), box.vm_id)
    lab.world.drain()
    assert not Sandbox.objects.exists()
    used = quotas.usage(lab.world.harbor)
    assert used.pop("sandbox_minutes") <= 1
    assert set(used.values()) == {0}
    assert evaluate(lab.world.hypervisor) == []


def test_another_recipe_retires_the_build_and_drains_its_spares(lab):
    lab.prepared()
    lab.spares()
    Template.objects.filter(pk=lab.template.pk).update(ready_script="#!/bin/sh\n")
    sweeps.tend_builds()
    sweeps.tend_pools()
    lab.world.drain()
    old, new = TemplateBuild.objects.order_by("created_at")
    assert (old.status, new.status) == ("retired", "ready")
    assert not Sandbox.objects.filter(build=old).exists()


def test_operations_of_before_a_claim_are_nobody_elses_business(lab):
    lab.prepared()
    lab.spares()
    box = lab.sandbox()
    kinds = [row["kind"] for row in lab.world.api("alice").call("GET", f"vms/{box.vm_id}/operations").json()["items"]]
    assert kinds == ["claim"]
    assert Operation.objects.filter(vm=box.vm_id).count() == 2


def test_a_wanted_template_is_prepared_by_itself_and_tried_again_after_an_hour(lab):
    Template.objects.update(pool_size=1)
    lab.world.hypervisor.fail_next("freeze", errors.NoSpace("full"))
    assert sweeps.tend_builds() == 1
    lab.world.drain()
    assert TemplateBuild.objects.get().status == "failed"
    assert sweeps.tend_builds() == 0
    TemplateBuild.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert sweeps.tend_builds() == 1
    lab.world.drain()
    assert TemplateBuild.objects.filter(status="ready").count() == 1


def test_not_all_templates_are_prepared_at_once(lab):
    admin = lab.world.actor("admin")
    for number in range(4):
        new = services.NewTemplate(name=f"more-{number}", image="micro", flavor="nano", pool_size=1)
        services.request_template(admin, new)
    assert sweeps.tend_builds() == sweeps.BUILDS_AT_ONCE
    assert sweeps.tend_builds() == 0
    lab.world.drain()
    assert sweeps.tend_builds() == 2


def test_a_node_without_memory_keeps_no_spares(lab):
    lab.prepared()
    lab.spares(2)
    Node.objects.update(memory_free_mib=100)
    sweeps.tend_pools()
    lab.world.drain()
    assert not VirtualMachine.objects.exists()
    Node.objects.update(memory_free_mib=2**19)
    assert sweeps.tend_pools() == (2, 0)


def test_builds_that_nothing_lies_on_go_and_those_without_files_say_so(lab):
    from portal.node_agent import frozen

    build = lab.prepared()
    box = lab.sandbox()
    services.request_retire(lab.world.actor("admin"), "micro")
    frozen.tend(lab.world.node, lab.world.hypervisor)
    assert TemplateBuild.objects.get().status == "retired"
    services.request_delete(lab.world.actor("alice"), box.vm_id)
    lab.world.drain()
    assert frozen.tend(lab.world.node, lab.world.hypervisor) == [f"build {build.folder}"]
    assert lab.world.hypervisor.frozen(frozen.folder_of(build)) is None
    other = services.request_template(
        lab.world.actor("admin"), services.NewTemplate(name="other", image="micro", flavor="nano")
    )
    lost = lab.prepared(other)
    lab.world.hypervisor.remove_frozen(frozen.folder_of(lost))
    frozen.tend(lab.world.node, lab.world.hypervisor)
    lost.refresh_from_db()
    assert (lost.status, lost.reason) == ("failed", "files_missing")
