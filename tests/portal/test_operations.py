"""Operations on the fake hypervisor: what each makes true, how each ends, and who may work on it."""

import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import AuditEntry, User
from accounts.refusals import BadInput, InvalidState, OperationInProgress, QuotaExceeded
from hypervisor import errors
from hypervisor.specs import DomainState
from portal.invariants import evaluate
from vms import services, sweeps
from vms.models import Operation, VirtualMachine
from vms.operations import power, runner
from vms.operations.leases import claim, release
from vms.states import LIVE, OperationStatus
from vms.steps import STEPS


@pytest.fixture(autouse=True)
def _every_invariant_holds(world):
    """I1..I7 after each test, as after each fault."""
    yield
    world.hypervisor.set_away(False)
    assert evaluate(world.hypervisor) == []


@pytest.fixture
def short_waits(settings):
    settings.STOP_WAIT = timedelta(seconds=0.05)
    settings.AGENT_WAIT = timedelta(seconds=0.05)


def fresh(vm):
    return VirtualMachine.objects.select_related("node", "project").get(pk=vm.pk)


def request(world, verb, vm, *args, by="alice"):
    answer = getattr(services, f"request_{verb}")(world.actor(by), vm.pk, *args)
    return answer[1] if isinstance(answer, tuple) else answer


def ended(world, operation):
    world.drain()
    operation.refresh_from_db()
    return operation


@pytest.mark.parametrize(
    ("verbs", "desired", "observed"),
    [
        (["stop"], "stopped", "stopped"),
        (["stop", "start"], "running", "running"),
        (["force_off"], "stopped", "stopped"),
        (["reboot"], "running", "running"),
        (["pause"], "paused", "paused"),
        (["pause", "resume"], "running", "running"),
        (["pause", "force_off"], "stopped", "stopped"),
    ],
)
def test_each_verb_is_true_in_the_hypervisor(world, verbs, desired, observed):
    vm = world.vm()
    for verb in verbs:
        operation = ended(world, request(world, verb, vm))
        assert (operation.status, operation.error_code, operation.progress) == ("succeeded", "", 100)
    vm = fresh(vm)
    assert (vm.desired_state, vm.observed_state) == (desired, observed)
    assert world.hypervisor.domain(vm.domain_uuid).state == observed


def test_a_create_walks_its_steps_in_order_and_times_them(world):
    vm = world.vm()
    operation = vm.operations.get()
    assert [name for name, _seconds in operation.step_times] == [step.name for step in STEPS["create"]]
    assert vm.sealed_seed is None  # the guest has read it; nothing needs the secrets any more


def test_a_reboot_is_done_when_the_guest_has_another_boot_id(world):
    vm = world.vm()
    world.hypervisor.set_deaf(vm.domain_uuid)
    operation = request(world, "reboot", vm)
    Operation.objects.filter(pk=operation.pk).update(deadline_at=Now() - timedelta(seconds=1))
    assert ended(world, operation).error_code == "deadline"


def test_a_reboot_of_a_machine_that_goes_off_meanwhile_ends_at_once_F6(world, monkeypatch):
    vm = world.vm()
    monkeypatch.setattr(world.hypervisor, "reboot", world.hypervisor.force_off)
    began = time.monotonic()
    operation = ended(world, request(world, "reboot", vm))
    assert time.monotonic() - began < power.REBOOT_WAIT_SECONDS / 10
    assert (operation.status, operation.error_code) == ("failed", "guest_stopped")
    assert "went off while it rebooted" in operation.error_detail
    assert (fresh(vm).observed_state, fresh(vm).desired_state) == ("stopped", "stopped")


def test_the_seed_has_what_was_asked_for_and_no_clear_password(world):
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBvJ3xGO0kRJ9RtNZ2gYQkVqz7zVZcVjY1m3Q3c1mOqk alice"
    vm = world.vm(ssh_keys=(key,), password="open-sesame", user_data="#!/bin/sh\ntrue\n")
    seed = world.hypervisor.seed_of(world.pool.name, f"{vm.domain_uuid}.iso")
    assert (seed.hostname, seed.ssh_keys, seed.user_data) == ("web-1", (key,), b"#!/bin/sh\ntrue\n")
    assert seed.password_hash.startswith("$2a$")


def test_a_guest_that_ignores_a_stop_is_told_of_and_can_be_forced_off(world, short_waits):
    vm = world.vm()
    world.hypervisor.set_deaf(vm.domain_uuid)
    operation = ended(world, request(world, "stop", vm))
    assert (operation.status, operation.error_code) == ("failed", "guest_timeout")
    assert "force it off" in operation.error_detail
    vm = fresh(vm)
    assert (vm.desired_state, vm.observed_state, vm.failure) == ("running", "running", "guest_timeout")
    assert ended(world, request(world, "force_off", vm)).status == "succeeded"
    assert fresh(vm).failure == ""


def test_a_guest_that_was_still_booting_is_asked_again(world, settings, monkeypatch):
    settings.STOP_WAIT = timedelta(seconds=0.3)
    monkeypatch.setattr(power, "ASK_AGAIN_SECONDS", 0.1)
    vm = world.vm()
    world.hypervisor.set_deaf(vm.domain_uuid)
    asked = []
    really = world.hypervisor.shutdown

    def hears_the_second_time(uuid):
        asked.append(uuid)
        world.hypervisor.set_deaf(uuid, len(asked) < 2)
        really(uuid)

    monkeypatch.setattr(world.hypervisor, "shutdown", hears_the_second_time)
    assert ended(world, request(world, "stop", vm)).status == "succeeded"
    assert len(asked) == 2


def test_a_guest_that_never_answers_leaves_a_running_machine_and_a_reason(world, short_waits, monkeypatch):
    monkeypatch.setattr(world.hypervisor, "agent", _no_agent)
    vm = world.vm()
    operation = vm.operations.get()
    assert (operation.status, operation.error_code) == ("failed", "guest_timeout")
    assert (vm.observed_state, vm.failure) == ("running", "guest_timeout")


def _no_agent(*_args, **_kwargs):
    raise errors.AgentUnavailable("silent")


def test_a_create_that_leaves_the_machine_off(world):
    vm = world.vm(start=False)
    assert (vm.desired_state, vm.observed_state) == ("stopped", "stopped")
    assert vm.operations.get().status == "succeeded"


def test_resize_changes_size_and_disk_and_never_shrinks(world):
    vm = world.vm(flavor="nano")
    with pytest.raises(InvalidState):
        request(world, "resize", vm, "small")
    ended(world, request(world, "stop", vm))
    assert ended(world, request(world, "resize", vm, "medium")).status == "succeeded"
    vm = fresh(vm)
    assert (vm.vcpus, vm.memory_mib, vm.disk_gib, vm.volumes.get().size_gib) == (2, 1024, 16, 16)
    assert world.hypervisor.domain(vm.domain_uuid).memory_mib == 1024
    with pytest.raises(BadInput, match="not acceptable") as refusal:
        request(world, "resize", vm, "nano")
    assert "cannot shrink" in str(refusal.value.fields["flavor"][0])


@pytest.mark.parametrize("verb", ["ensure_volume", "start"])
def test_a_file_that_is_missing_is_said_to_be_and_not_asked_for_again(world, verb):
    world.hypervisor.fail_next(verb, errors.FileMissing("/images/micro.qcow2: No such file or directory"))
    vm = world.vm()
    operation = ended(world, vm.operations.get())
    assert (operation.status, operation.error_code, operation.attempt) == ("failed", "file_missing", 1)
    assert "An admin has to put it back" in operation.error_detail
    assert "/images" not in operation.error_detail
    assert fresh(vm).observed_state == ("absent" if verb == "ensure_volume" else "stopped")
    if verb == "start":
        assert ended(world, request(world, "start", vm)).status == "succeeded"


def test_a_resize_that_fails_gives_back_what_it_had_counted(world):
    vm = world.vm(flavor="nano", start=False)
    world.hypervisor.fail_next("grow_volume", errors.NoSpace("full"))
    operation = ended(world, request(world, "resize", vm, "medium"))
    assert (operation.status, operation.error_code) == ("failed", "pool_full")
    vm = fresh(vm)
    assert (vm.vcpus, vm.memory_mib, vm.disk_gib, vm.flavor.name) == (1, 256, 2, "nano")


def test_delete_twice_is_one_operation_and_leaves_nothing(world):
    vm = world.vm()
    first = request(world, "delete", vm)
    assert request(world, "delete", vm) == first
    assert ended(world, first).status == "succeeded"
    assert not VirtualMachine.objects.filter(pk=vm.pk).exists()
    assert world.hypervisor.domain(vm.domain_uuid) is None
    assert world.hypervisor.volumes(world.pool.name) == []
    assert world.hypervisor.addresses(world.network.name) == {}
    assert Operation.objects.filter(vm_id=vm.pk).count() == 2  # the journal outlives the machine


def test_a_name_is_free_again_as_soon_as_its_machine_is_being_deleted(world):
    vm = world.vm("web-1")
    request(world, "delete", vm)
    again = world.vm("web-1")
    assert again.pk != vm.pk


def test_delete_takes_the_place_of_a_create_at_any_step(world):
    for step in ("", *[step.name for step in STEPS["create"]]):
        vm = world.vm(f"v-{step.replace('_', '-') or 'none'}", drain=False)
        create = vm.operations.get()
        if step:
            lease = claim(create.pk, "a worker that is about to die")
            Operation.objects.filter(pk=create.pk).update(step=step)
            delete = request(world, "delete", vm)
            assert claim(delete.pk, "too early") is None  # its predecessor still holds on
            release(lease)
        else:
            delete = request(world, "delete", vm)
        create.refresh_from_db()
        assert (create.status, create.error_code) == ("cancelled", "preempted")
        assert ended(world, delete).status == "succeeded"


@pytest.mark.parametrize("live", ["stop", "reboot"])
def test_force_off_takes_the_place_of_what_the_guest_ignores(world, live):
    vm = world.vm()
    stuck = request(world, live, vm)
    assert ended(world, request(world, "force_off", vm)).status == "succeeded"
    stuck.refresh_from_db()
    assert stuck.status == "cancelled"


def test_a_second_operation_is_refused_while_one_is_live(world):
    vm = world.vm()
    request(world, "pause", vm)
    with pytest.raises(OperationInProgress):
        request(world, "stop", vm)


def test_the_database_refuses_a_second_live_operation_I7(world):
    vm = world.vm()
    row = request(world, "pause", vm)
    with pytest.raises(IntegrityError), transaction.atomic():
        Operation.objects.create(
            kind="stop",
            vm=vm,
            vm_name=vm.name,
            project=vm.project,
            node=vm.node,
            status="pending",
            fence=row.fence,
        )
    world.drain()


# --- leases, fences, duplicates -------------------------------------------------------------------------------
def test_one_of_many_claims_wins_F3(world):
    vm = world.vm(drain=False)
    operation = vm.operations.get()
    leases = [claim(operation.pk, f"worker {n}") for n in range(16)]
    assert [lease is not None for lease in leases] == [True] + [False] * 15
    release(leases[0])
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))
    world.drain()


def test_a_message_that_comes_again_after_the_end_does_nothing_F3(world):
    vm = world.vm()
    calls = world.hypervisor.calls
    assert runner.run(vm.operations.get().pk, world.hypervisor) is False
    assert runner.run(uuid4(), world.hypervisor) is False
    assert world.hypervisor.calls == calls


@pytest.mark.parametrize("step", [step.name for step in STEPS["create"]])
def test_a_create_whose_worker_died_is_finished_by_another_F1(world, monkeypatch, step):
    """The worker dies before and after each step's effect: this passes through everything, as SIGKILL would."""
    for when in ("before", "after"):
        vm = world.vm(f"v-{when}-{step}", drain=False)
        operation = vm.operations.get()
        with monkeypatch.context() as patch:
            patch.setitem(runner.HANDLERS, step, _dying(runner.HANDLERS[step], when))
            patch.setattr(runner, "release", lambda lease: None)
            with pytest.raises(_Killed):
                runner.run(operation.pk, world.hypervisor)
        operation.refresh_from_db()
        assert (operation.status, operation.step) == ("running", step)
        assert runner.run(operation.pk, world.hypervisor) is False  # its lease has not run out
        Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))
        assert ended(world, operation).status == "succeeded"
        assert operation.attempt == 2


class _Killed(BaseException):
    pass


def _dying(handler, when):
    def handle(ctx):
        if when == "after":
            handler(ctx)
        raise _Killed

    return handle


def test_a_worker_that_was_overtaken_touches_nothing_more(world, monkeypatch):
    vm = world.vm(drain=False)
    operation = vm.operations.get()

    def overtaken(ctx):
        Operation.objects.filter(pk=operation.pk).update(fence=99, lease_owner="somebody else")
        ctx.guard()

    monkeypatch.setitem(runner.HANDLERS, "disk", overtaken)
    runner.run(operation.pk, world.hypervisor)
    assert "ensure_volume" not in world.hypervisor.calls
    operation.refresh_from_db()
    assert (operation.status, operation.lease_owner) == ("running", "somebody else")
    monkeypatch.undo()
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))
    world.drain()


# --- errors ---------------------------------------------------------------------------------------------------
def test_an_absent_hypervisor_is_waited_for(world):
    vm = world.vm(drain=False)
    operation = vm.operations.get()
    world.hypervisor.set_away(True)
    for _attempt in range(8):
        Operation.objects.filter(pk=operation.pk).update(not_before=None)
        runner.run(operation.pk, world.hypervisor)
    operation.refresh_from_db()
    assert operation.status == "pending"
    assert operation.not_before > timezone.now()
    world.hypervisor.set_away(False)
    assert ended(world, operation).status == "succeeded"


def test_a_refusal_is_tried_again_and_then_told_of(world):
    vm = world.vm(drain=False)
    world.hypervisor.fail_next("define", errors.HypervisorError("boom <b>"), times=runner.MAX_TRIES)
    operation = ended(world, vm.operations.get())
    assert (operation.status, operation.error_code) == ("failed", "hypervisor_error")
    assert "boom" in operation.staff_detail
    assert "boom" not in operation.error_detail
    assert (fresh(vm).failure, fresh(vm).desired_state) == ("create_failed", "stopped")


def test_a_failed_create_can_be_tried_again(world):
    vm = world.vm(drain=False)
    world.hypervisor.fail_next("ensure_volume", errors.NoSpace("full"))
    assert ended(world, vm.operations.get()).error_code == "pool_full"
    with pytest.raises(InvalidState):
        request(world, "start", vm)
    assert ended(world, request(world, "create_again", vm)).status == "succeeded"
    assert (fresh(vm).observed_state, fresh(vm).failure) == ("running", "")


def test_force_off_believes_the_state_and_not_the_error(world, monkeypatch):
    vm = world.vm()
    really = world.hypervisor.force_off

    def off_but_says_no(uuid):
        really(uuid)
        raise errors.WrongState("not running")

    monkeypatch.setattr(world.hypervisor, "force_off", off_but_says_no)
    assert ended(world, request(world, "force_off", vm)).status == "succeeded"


def test_a_disk_that_is_gone_is_never_replaced_by_an_empty_one_F18(world):
    vm = world.vm()
    ended(world, request(world, "stop", vm))
    world.hypervisor.lose_volume(world.pool.name, vm.volumes.get().file_name)
    operation = ended(world, request(world, "start", vm))
    assert operation.error_code == "storage_missing"
    assert "ensure_volume" not in world.hypervisor.calls[world.hypervisor.calls.index("shutdown") :]
    assert ended(world, request(world, "delete", vm)).status == "succeeded"


def test_an_account_that_was_closed_gets_nothing_more_done_A21(world):
    vm = world.vm(drain=False)
    User.objects.filter(pk=world.alice.pk).update(is_active=False)
    operation = ended(world, vm.operations.get())
    assert (operation.status, operation.error_code) == ("failed", "actor_disabled")
    assert world.hypervisor.domain(vm.domain_uuid) is None


# --- cancel ---------------------------------------------------------------------------------------------------
def test_cancel_before_anybody_began(world):
    vm = world.vm(drain=False)
    operation = services.request_cancel(world.actor("alice"), vm.operations.get().pk)
    assert operation.status == "cancelled"
    assert world.hypervisor.domain(vm.domain_uuid) is None
    with pytest.raises(InvalidState):
        services.request_cancel(world.actor("alice"), operation.pk)


def test_cancel_under_way_ends_at_the_next_step(world, monkeypatch):
    vm = world.vm()
    operation = request(world, "stop", vm)

    def asked(ctx):
        services.request_cancel(world.actor("alice"), operation.pk)

    monkeypatch.setitem(runner.HANDLERS, "ask_stop", asked)
    assert ended(world, operation).status == "cancelled"
    assert (fresh(vm).desired_state, fresh(vm).observed_state) == ("running", "running")


def test_what_would_break_half_way_cannot_be_cancelled(world):
    vm = world.vm(start=False)
    operation = request(world, "resize", vm, "small")
    with pytest.raises(InvalidState) as refusal:
        services.request_cancel(world.actor("alice"), operation.pk)
    assert refusal.value.code == "not_cancellable"
    world.drain()


# --- sweeps ---------------------------------------------------------------------------------------------------
def test_a_bell_that_nobody_heard_is_rung_again_F4(world, bells):
    vm = world.vm(drain=False)
    operation = vm.operations.get()
    Operation.objects.filter(pk=operation.pk).update(created_at=Now() - timedelta(seconds=10))
    bells.clear()
    assert sweeps.ring_due(timedelta(seconds=2)) == 1
    assert sweeps.ring_due(timedelta(seconds=2)) == 0  # just rung
    assert len(bells) == 1
    world.drain()


def test_a_dead_lease_is_rung_for(world):
    vm = world.vm(drain=False)
    operation = vm.operations.get()
    claim(operation.pk, "dead")
    assert sweeps.ring_due(timedelta(seconds=0)) == 0
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))
    assert sweeps.ring_due(timedelta(seconds=0)) == 1
    world.drain()


def test_what_nobody_carries_out_ends_with_a_reason_I3(world):
    vm = world.vm(drain=False)
    Operation.objects.filter(vm=vm).update(deadline_at=Now() - timedelta(seconds=1))
    assert sweeps.end_overdue() == 1
    operation = vm.operations.get()
    assert (operation.status, operation.error_code) == ("failed", "node_away")
    assert fresh(vm).failure == "create_failed"


def test_machines_of_a_node_that_went_away_move_up_and_back(world):
    vm = world.vm()
    rank = vm.attention_rank
    world.node.synced_at = timezone.now() - timedelta(minutes=5)
    world.node.save(update_fields=["synced_at"])
    sweeps.rank_by_nodes()
    assert fresh(vm).attention_rank < rank
    world.node.synced_at = timezone.now()
    world.node.save(update_fields=["synced_at"])
    sweeps.rank_by_nodes()
    assert fresh(vm).attention_rank == rank


# --- trail ----------------------------------------------------------------------------------------------------
def test_every_request_leaves_an_audit_entry_with_its_operation(world):
    vm = world.vm()
    ended(world, request(world, "stop", vm))
    entries = AuditEntry.objects.filter(target_id=vm.pk).order_by("id").values_list("action", "actor_name")
    assert list(entries) == [("vm.create", "alice"), ("vm.stop", "alice")]


def test_a_start_counts_against_the_running_quota(world):
    from accounts.services import set_limits

    vm = world.vm(start=False)
    set_limits(world.actor("admin"), world.harbor, {"running_vms": 0})
    with pytest.raises(QuotaExceeded) as refusal:
        request(world, "start", vm)
    assert [row["dimension"] for row in refusal.value.extra["quota"]] == ["running_vms"]
    assert not Operation.objects.filter(vm=vm, status__in=LIVE).exists()


def test_a_crashed_guest_counts_until_it_is_off(world):
    """Its QEMU is kept for its last screen, and holds its memory."""
    from vms import quotas
    from vms.observer import sync

    vm = world.vm()
    world.hypervisor.happen(vm.domain_uuid, DomainState.CRASHED, "panicked")
    sync(world.node, world.hypervisor)
    VirtualMachine.objects.filter(pk=vm.pk).update(desired_state="stopped")
    assert (fresh(vm).observed_state, quotas.usage(world.harbor)["running_vms"]) == ("crashed", 1)
    ended(world, request(world, "force_off", fresh(vm)))
    assert quotas.usage(world.harbor)["running_vms"] == 0


def test_an_operation_table_has_no_row_without_reason(world):
    vm = world.vm()
    operation = vm.operations.get()
    with pytest.raises(IntegrityError), transaction.atomic():
        Operation.objects.filter(pk=operation.pk).update(status=OperationStatus.FAILED, error_code="")


def test_a_domain_that_stops_while_it_boots_is_told_of(world, monkeypatch):
    vm = world.vm(drain=False)

    def dies(uuid, *_args, **_kwargs):
        world.hypervisor.happen(uuid, DomainState.STOPPED, "shutdown")
        raise errors.AgentUnavailable("gone")

    monkeypatch.setattr(world.hypervisor, "agent", dies)
    assert ended(world, vm.operations.get()).error_code == "guest_stopped"
    assert fresh(vm).desired_state == "stopped"
