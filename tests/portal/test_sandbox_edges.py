"""At the edges of a sandbox's life: it can be taken back, costs nothing for nothing, and starves nobody."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.refusals import BadInput, InvalidState, QuotaExceeded
from accounts.services import set_limits
from hypervisor.errors import HypervisorError, NoSpace
from hypervisor.specs import DomainState
from portal.invariants import evaluate
from sandboxes import services, sweeps
from sandboxes.api import runs
from sandboxes.models import Run, Sandbox, Template
from tests.portal.lab import make_lab, stub_gateway
from vms import observer, quotas
from vms import services as vm_services
from vms.models import Operation, VirtualMachine
from vms.states import Role


@pytest.fixture(autouse=True)
def _no_gateway(monkeypatch):
    stub_gateway(monkeypatch)


@pytest.fixture
def lab(world):
    return make_lab(world)


@pytest.fixture
def alice(lab):
    return lab.world.actor("alice")


@pytest.fixture
def box(lab):
    lab.prepared()
    return lab.sandbox()


def happens(lab, sandbox, state, reason):
    """Let something befall the domain, and the agent see it."""
    lab.world.hypervisor.happen(sandbox.vm.domain_uuid, state, reason)
    observer.observe(sandbox.vm_id, sandbox.vm.domain_uuid, lab.world.hypervisor.domain(sandbox.vm.domain_uuid))


def end_lease(lab, sandbox):
    Sandbox.objects.filter(pk=sandbox.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert sweeps.end_leases() == 1
    lab.world.drain()


# --- leases -------------------------------------------------------------------------------------------------
def test_what_could_not_be_paused_at_its_end_can_be_taken_back(lab, box, alice):
    lab.world.hypervisor.fail_next("save", NoSpace("full"))
    end_lease(lab, box)
    assert (lab.again(box).lease_status, lab.again(box).vm.observed_state) == ("ended", "running")
    services.request_restore(alice, box.vm_id)
    lab.world.drain()
    again = lab.again(box)
    assert (again.lease_status, again.vm.observed_state, lab.operation(box).status) == (
        "running",
        "running",
        "succeeded",
    )
    assert evaluate(lab.world.hypervisor) == []


def test_a_guest_that_crashed_gives_its_memory_back_at_the_end_of_its_lease(lab, box, alice):
    happens(lab, box, DomainState.CRASHED, "panicked")
    end_lease(lab, box)
    assert lab.again(box).vm.observed_state == "stopped"
    assert quotas.usage(lab.world.harbor)["running_vms"] == 0
    services.request_restore(alice, box.vm_id)
    lab.world.drain()
    assert lab.again(box).vm.observed_state == "running"


def test_a_sandbox_that_could_not_go_on_pays_for_nothing(lab, box, alice):
    services.request_pause(alice, box.vm_id)
    lab.world.drain()
    left = lab.again(box).remaining_seconds
    lab.world.hypervisor.fail_next("start", HypervisorError("no"), times=20)
    services.request_resume(alice, box.vm_id)
    Operation.objects.filter(vm=box.vm_id, kind="restore").update(deadline_at=timezone.now() - timedelta(seconds=1))
    lab.world.drain()
    again = lab.again(box)
    assert (lab.operation(box).status, again.lease_status) == ("failed", "paused")
    assert left - 60 <= again.remaining_seconds <= left


def test_a_sandbox_that_could_not_go_on_is_reset_and_pays_again(lab, box, alice):
    services.request_pause(alice, box.vm_id)
    lab.world.drain()
    with pytest.raises(InvalidState):
        services.request_reset(alice, box.vm_id)  # its owner's pause
    lab.world.hypervisor.fail_next("start", HypervisorError("no"), times=20)
    services.request_resume(alice, box.vm_id)
    Operation.objects.filter(vm=box.vm_id, kind="restore").update(deadline_at=timezone.now() - timedelta(seconds=1))
    lab.world.drain()
    page = lab.world.browser("alice").get(f"/sandboxes/{box.vm_id}/").content.decode()
    assert f'/sandboxes/{box.vm_id}/reset"' in page
    services.request_reset(alice, box.vm_id)
    lab.world.drain()
    assert (lab.again(box).lease_status, lab.again(box).vm.observed_state) == ("running", "running")


def test_a_sandbox_that_runs_though_it_was_given_up_pays(lab, box, alice):
    services.request_pause(alice, box.vm_id)
    lab.world.drain()
    assert sweeps.pay_again() == 0
    VirtualMachine.objects.filter(pk=box.vm_id).update(observed_state="running")  # a start that nobody saw end
    assert sweeps.pay_again() == 1
    assert (lab.again(box).lease_status, sweeps.pay_again()) == ("running", 0)


# --- quota and identity ---------------------------------------------------------------------------------------
def test_resets_without_a_template_count_before_they_run(lab, alice):
    boxes = [lab.sandbox(f"box-{number}") for number in range(2)]  # booted: nothing is prepared
    for box in boxes:
        happens(lab, box, DomainState.STOPPED, "shutdown")
    set_limits(lab.world.actor("admin"), lab.world.harbor, {"running_vms": 1})
    services.request_reset(alice, boxes[0].vm_id)
    with pytest.raises(QuotaExceeded):
        services.request_reset(alice, boxes[1].vm_id)


def test_a_guest_that_crashed_is_reset_where_the_quota_is_full(lab, box, alice):
    happens(lab, box, DomainState.CRASHED, "panicked")
    VirtualMachine.objects.filter(pk=box.vm_id).update(desired_state="stopped")
    set_limits(lab.world.actor("admin"), lab.world.harbor, {"running_vms": 1})
    services.request_reset(alice, box.vm_id)
    lab.world.drain()
    assert lab.again(box).vm.observed_state == "running"


def test_no_way_leads_into_a_clone_without_an_identity(lab, box, alice):
    Sandbox.objects.filter(pk=box.pk).update(named_at=None)
    with pytest.raises(InvalidState, match="identity"):
        lab.run(box)
    with pytest.raises(InvalidState, match="identity"):
        services.request_keep(alice, box.vm_id)
    vm_services.request_force_off(alice, box.vm_id)
    lab.world.drain()
    with pytest.raises(InvalidState, match="identity"):
        services.request_resume(alice, box.vm_id)
    services.request_reset(alice, box.vm_id)
    lab.world.drain()
    assert lab.run(box).pk


# --- pools ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("state", [DomainState.STOPPED, DomainState.CRASHED])
def test_a_clone_that_died_while_it_waited_is_replaced(lab, state):
    lab.prepared()
    [dead] = lab.spares()
    happens(lab, dead, state, "crashed" if state is DomainState.STOPPED else "panicked")
    assert sweeps.tend_pools() == (1, 1)
    lab.world.drain()
    [spare] = VirtualMachine.objects.filter(role=Role.SPARE)
    assert (spare.observed_state, spare.pk == dead.vm_id) == ("paused", False)
    assert evaluate(lab.world.hypervisor) == []


def test_a_template_whose_clones_never_come_to_wait_lets_others_have_their_turn(lab):
    lab.prepared()
    Template.objects.update(pool_size=2)
    for _round in range(4):
        lab.world.hypervisor.fail_next("clone", HypervisorError("no"), times=20)
        made, _taken = sweeps.tend_pools()
        lab.world.drain()
        Operation.objects.filter(kind="spare").update(status="failed", error_code="x", finished_at=timezone.now())
    assert made == 0
    Operation.objects.filter(kind="spare").update(created_at=timezone.now() - timedelta(minutes=11))
    assert sweeps.tend_pools()[0] > 0


def test_a_bad_row_stops_no_sweep(lab, monkeypatch):
    lab.prepared()
    Template.objects.update(pool_size=1)

    def broken():
        raise OverflowError("date value out of range")

    monkeypatch.setattr(sweeps, "pause_idle", broken)
    with pytest.raises(OverflowError):
        sweeps.sweep()
    assert VirtualMachine.objects.filter(role=Role.SPARE).exists()


def test_nobody_is_idle_for_longer_than_any_lease(lab):
    new = services.NewTemplate(name="mine", image="micro", flavor="nano", idle_minutes=2_000_000_000, project="harbor")
    with pytest.raises(BadInput) as refused:
        services.request_template(lab.world.actor("alice"), new)
    assert "idle_minutes" in refused.value.extra["fields"]


# --- what is kept of commands ---------------------------------------------------------------------------------
@pytest.mark.parametrize("end", ["reset", "killed"])
def test_what_a_command_was_given_goes_with_its_end(lab, box, alice, end):
    Run.objects.all().delete()
    run = services.request_run(
        alice, box.vm_id, services.NewRun(command="cat", stdin=b"secret", env={"TOKEN": "secret"})
    )
    if end == "reset":
        services.request_reset(alice, box.vm_id)
    else:
        services.request_kill(alice, run.pk)
    run.refresh_from_db()
    assert (run.is_live, run.stdin, run.env) == (False, None, {})


def test_a_person_sends_only_so_many_files_at_once_and_gives_each_place_back(lab, box):
    alice, place = lab.world.alice.pk, f"sandboxes/{box.vm_id}/files?path=/tmp/x"
    under_way = [object() for _ in range(runs.UPLOADS_PER_USER)]
    runs._uploading[alice].update(under_way)
    try:
        refused = lab.world.api("alice").call("PUT", place, b"")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        runs._uploading[alice].discard(under_way[0])
        assert lab.world.api("alice").call("PUT", place, b"").status_code == 200
        assert runs._uploading[alice] == set(under_way[1:])
    finally:
        del runs._uploading[alice]


def test_a_person_follows_only_so_many_commands_at_once(lab, box):
    run, alice = lab.run(box), lab.world.alice.pk
    runs._following[alice].update(object() for _ in range(runs.FOLLOWED_PER_USER))
    try:
        assert lab.world.api("alice").call("GET", f"runs/{run.pk}/events").status_code == 429
    finally:
        del runs._following[alice]
