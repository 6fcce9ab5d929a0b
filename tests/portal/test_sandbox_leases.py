"""Leases: the ledger, warnings, the end, grace, pausing, extending, keeping, and what counts as use."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.core import mail
from django.utils import timezone

from accounts.models import AuditEntry
from accounts.refusals import BadInput, InvalidState, QuotaExceeded
from accounts.services import set_limits
from hypervisor.errors import NoSpace
from hypervisor.specs import DomainState
from portal.invariants import evaluate
from sandboxes import lease_sweeps, ledger, services, sweeps
from sandboxes.models import Run, Sandbox, Template
from tests.portal.lab import make_lab, stub_gateway
from vms import quotas
from vms.models import ConsoleSession, Operation, UsageEntry, VirtualMachine
from vms.states import LIVE, Role


@pytest.fixture
def lab(world, monkeypatch):
    stub_gateway(monkeypatch)
    return make_lab(world)


@pytest.fixture
def box(lab):
    lab.prepared()
    return lab.sandbox()


@pytest.fixture
def alice(lab):
    return lab.world.actor("alice")


def minutes(lab):
    return quotas.usage(lab.world.harbor)["sandbox_minutes"]


def pass_time(box, **span):
    """Let time pass for this lease."""
    row = Sandbox.objects.get(pk=box.pk)
    for name in ("expires_at", "warn_at", "grace_until", "used_at"):
        if getattr(row, name):
            setattr(row, name, getattr(row, name) - timedelta(**span))
    row.save()


def state(lab, box):
    found = lab.world.hypervisor.domain(box.vm.domain_uuid)
    return found.state if found else None


# --- the ledger ---------------------------------------------------------------------------------------------
def test_a_lease_over_midnight_of_a_month_is_booked_to_both():
    begin = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
    booked = list(ledger.by_month(begin, begin + timedelta(hours=1)))
    assert booked == [(date(2026, 1, 1), 1800), (date(2026, 2, 1), 1800)]
    assert ledger.minutes_now(begin, begin + timedelta(hours=1)) == 30


def test_a_lease_over_a_year_has_every_month_once():
    begin = datetime(2025, 12, 15, tzinfo=UTC)
    booked = list(ledger.by_month(begin, begin + timedelta(days=60)))
    assert [month for month, _seconds in booked] == [date(2025, 12, 1), date(2026, 1, 1), date(2026, 2, 1)]
    assert sum(seconds for _month, seconds in booked) == 60 * 86400


def test_minutes_of_the_month_before_do_not_count(lab, box):
    assert minutes(lab) == 60
    last_month = (timezone.now().date().replace(day=1) - timedelta(days=1)).replace(day=1)
    UsageEntry.objects.update(month=last_month)
    assert minutes(lab) == 0


def test_a_month_that_is_used_up_refuses_with_what_is_missing(lab, box):
    set_limits(lab.world.actor("admin"), lab.world.harbor, {"sandbox_minutes": 100})
    with pytest.raises(QuotaExceeded) as refused:
        lab.sandbox("box-2")
    [shortage] = refused.value.extra["quota"]
    assert (shortage["dimension"], shortage["used"], shortage["requested"], shortage["short"]) == (
        "sandbox_minutes", 60, 60, 20,
    )  # fmt: skip
    assert lab.sandbox("box-2", lease_minutes=40).lease_minutes == 40


def test_who_deletes_early_gets_the_rest_back_by_whichever_way(lab, box, alice):
    from vms.services import request_delete

    request_delete(alice, box.vm_id)  # as a machine, past everything that knows of leases
    lab.world.drain()
    assert not Sandbox.objects.exists()
    assert minutes(lab) <= 1


# --- the end ------------------------------------------------------------------------------------------------
def test_a_warning_is_given_once_on_the_page_and_by_mail(lab, box):
    assert sweeps.warn_of_ends() == 0
    pass_time(box, minutes=56)
    version = VirtualMachine.objects.get(pk=box.vm_id).version
    assert (sweeps.warn_of_ends(), sweeps.warn_of_ends()) == (1, 0)
    assert VirtualMachine.objects.get(pk=box.vm_id).version > version
    [letter] = mail.outbox
    assert letter.to == ["alice@test.invalid"]
    assert "box-1" in letter.subject
    assert str(box.vm_id) in letter.body


@pytest.mark.parametrize(
    ("lease", "early"),
    [(4, 1), (8, 2), (40, 10), (60, 15), (120, 15), (24 * 60, 144), (7 * 24 * 60, 1008), (20 * 24 * 60, 24 * 60)],
)
def test_people_are_warned_a_tenth_of_the_lease_before_its_end_within_policy(lab, settings, lease, early):
    settings.SANDBOX_LEASE_MINUTES = (1, 30 * 24 * 60)
    set_limits(lab.world.actor("admin"), lab.world.harbor, {"sandbox_minutes": None})
    box = lab.sandbox(lease_minutes=lease)
    pass_time(box, minutes=lease - early, seconds=-30)
    assert sweeps.warn_of_ends() == 0
    pass_time(box, seconds=31)
    assert sweeps.warn_of_ends() == 1


def test_how_early_people_are_warned_is_policy(lab, settings):
    settings.SANDBOX_WARN_BEFORE = (timedelta(minutes=15), timedelta(minutes=20))
    short, long = lab.sandbox("short", lease_minutes=60), lab.sandbox("long", lease_minutes=600)
    pass_time(short, minutes=46)
    assert sweeps.warn_of_ends() == 1
    pass_time(long, minutes=579)
    assert sweeps.warn_of_ends() == 0
    pass_time(long, minutes=2)
    assert sweeps.warn_of_ends() == 1


def test_an_extended_lease_is_warned_of_again_and_by_what_is_left_of_it(lab, box, alice):
    pass_time(box, minutes=55)
    assert sweeps.warn_of_ends() == 1
    services.request_extend(alice, box.vm_id, 15)
    assert sweeps.warn_of_ends() == 0
    pass_time(box, minutes=16)
    assert sweeps.warn_of_ends() == 1


def test_everybody_is_warned_in_time_however_many_there_are(lab, box, monkeypatch):
    monkeypatch.setattr(lease_sweeps, "AT_ONCE", 1)
    long = lab.sandbox("long", lease_minutes=600)
    pass_time(long, minutes=580)
    pass_time(box, minutes=56)
    assert [sweeps.warn_of_ends() for _time in range(3)] == [1, 1, 0]


def test_a_lease_of_a_version_that_knew_no_time_to_warn_is_warned_of(lab, box):
    Sandbox.objects.update(warn_at=None)
    assert sweeps.warn_of_ends() == 0
    pass_time(box, minutes=56)
    assert sweeps.warn_of_ends() == 1


def test_a_template_from_before_a_stricter_policy_gives_what_policy_allows(lab, box, settings, alice):
    settings.SANDBOX_LEASE_MINUTES = (1, 30)
    assert lab.sandbox("box-2").lease_minutes == 30
    pass_time(box, hours=2)
    sweeps.end_leases()
    lab.world.drain()
    services.request_restore(alice, box.vm_id)
    assert lab.again(box).lease_minutes == 30
    with pytest.raises(BadInput):
        lab.sandbox("box-3", lease_minutes=31)


def test_at_its_end_a_sandbox_is_paused_to_disk_and_can_be_taken_back(lab, box, alice):
    run = lab.run(box)
    pass_time(box, hours=2)
    assert sweeps.end_leases() == 1
    lab.world.drain()
    box = lab.again(box)
    run.refresh_from_db()
    assert (box.lease_status, state(lab, box), run.error_code) == ("ended", DomainState.SUSPENDED, "lease_ended")
    assert quotas.usage(lab.world.harbor)["running_vms"] == 0
    with pytest.raises(InvalidState):
        lab.run(box)
    with pytest.raises(InvalidState):
        services.request_extend(alice, box.vm_id, 10)
    services.request_restore(alice, box.vm_id, 30)
    lab.world.drain()
    box = lab.again(box)
    assert (box.lease_status, state(lab, box), box.lease_minutes) == ("running", DomainState.RUNNING, 30)
    assert box.vm.observed_state == "running"
    assert minutes(lab) == 90
    assert evaluate(lab.world.hypervisor) == []


def test_nobody_took_it_back(lab, box):
    pass_time(box, hours=2)
    sweeps.end_leases()
    lab.world.drain()
    assert sweeps.delete_after_grace() == 0
    pass_time(box, hours=25)
    assert sweeps.delete_after_grace() == 1
    lab.world.drain()
    assert not VirtualMachine.objects.exists()
    assert evaluate(lab.world.hypervisor) == []


def test_a_lease_that_ends_while_the_sandbox_is_busy_ends_when_it_is_not(lab, box, alice):
    services.request_reset(alice, box.vm_id)
    pass_time(box, hours=2)
    assert sweeps.end_leases() == 0
    lab.world.drain()
    assert sweeps.end_leases() == 1
    lab.world.drain()
    assert state(lab, lab.again(box)) is DomainState.SUSPENDED


def test_a_sandbox_that_could_not_be_paused_at_its_end_is_paused_later(lab, box):
    lab.world.hypervisor.fail_next("save", NoSpace("full"))
    pass_time(box, hours=2)
    assert sweeps.end_leases() == 1
    lab.world.drain()
    assert (lab.operation(box).error_code, state(lab, box)) == ("pool_full", DomainState.RUNNING)
    assert lab.again(box).lease_status == "ended"
    assert sweeps.pause_what_still_runs() == 0  # not at once
    Operation.objects.filter(vm=box.vm_id).update(created_at=timezone.now() - timedelta(minutes=11))
    assert (sweeps.pause_what_still_runs(), sweeps.pause_what_still_runs()) == (1, 0)
    lab.world.drain()
    assert state(lab, box) is DomainState.SUSPENDED
    Operation.objects.filter(vm=box.vm_id).update(created_at=timezone.now() - timedelta(minutes=11))
    assert sweeps.pause_what_still_runs() == 0
    assert evaluate(lab.world.hypervisor) == []


@pytest.mark.parametrize("who", ["owner", "idle"])
def test_a_pause_that_fails_stops_no_clock(lab, box, alice, who):
    lab.world.hypervisor.fail_next("save", NoSpace("full"))
    Template.objects.update(idle_minutes=10)
    pass_time(box, minutes=20)
    if who == "owner":
        services.request_pause(alice, box.vm_id)
    else:
        assert sweeps.pause_idle() == 1
    assert lab.again(box).lease_status == "paused"
    lab.world.drain()
    box = lab.again(box)
    assert (box.lease_status, state(lab, box)) == ("running", DomainState.RUNNING)
    assert timedelta(minutes=39) < box.left(timezone.now()) <= timedelta(minutes=40)
    assert minutes(lab) == 60
    assert sweeps.pause_idle() == 0  # it has its time again


def test_a_lease_ends_under_an_open_console(lab, box):
    ConsoleSession.objects.create(user=lab.world.alice, vm=box.vm, kind="vnc")
    pass_time(box, hours=2)
    assert sweeps.end_leases() == 1
    lab.world.drain()
    assert lab.again(box).vm.observed_state == "suspended"  # by which the gateway closes it


def test_a_sandbox_that_was_off_at_its_end_is_just_ended(lab, box):
    lab.world.hypervisor.happen(box.vm.domain_uuid, DomainState.STOPPED, "shutdown")
    from vms import observer

    observer.observe(box.vm_id, box.vm.domain_uuid, lab.world.hypervisor.domain(box.vm.domain_uuid))
    pass_time(box, hours=2)
    assert sweeps.end_leases() == 1
    assert not Operation.objects.filter(status__in=LIVE).exists()


# --- people -------------------------------------------------------------------------------------------------
def test_the_clock_stands_still_while_its_owner_paused_it(lab, box, alice):
    pass_time(box, minutes=20)
    services.request_pause(alice, box.vm_id)
    lab.world.drain()
    box = lab.again(box)
    assert (box.lease_status, state(lab, box)) == ("paused", DomainState.SUSPENDED)
    assert 39 * 60 <= box.remaining_seconds <= 40 * 60
    assert minutes(lab) in (20, 21)
    assert sweeps.end_leases() == 0
    with pytest.raises(InvalidState):
        services.request_reset(alice, box.vm_id)
    services.request_resume(alice, box.vm_id)
    lab.world.drain()
    box = lab.again(box)
    assert (box.lease_status, state(lab, box)) == ("running", DomainState.RUNNING)
    assert timedelta(minutes=39) < box.expires_at - timezone.now() <= timedelta(minutes=40)
    assert minutes(lab) == 60


def test_a_paused_sandbox_goes_on_only_where_the_month_has_minutes_left(lab, box, alice):
    services.request_pause(alice, box.vm_id)
    lab.world.drain()
    set_limits(lab.world.actor("admin"), lab.world.harbor, {"sandbox_minutes": 5})
    with pytest.raises(QuotaExceeded):
        services.request_resume(alice, box.vm_id)
    assert state(lab, box) is DomainState.SUSPENDED
    assert not Operation.objects.filter(status__in=LIVE).exists()


def test_a_sandbox_that_switched_itself_off_is_switched_on(lab, box, alice):
    from vms import observer

    lab.world.hypervisor.happen(box.vm.domain_uuid, DomainState.STOPPED, "shutdown")
    observer.observe(box.vm_id, box.vm.domain_uuid, lab.world.hypervisor.domain(box.vm.domain_uuid))
    services.request_resume(alice, box.vm_id)
    lab.world.drain()
    assert state(lab, box) is DomainState.RUNNING


def test_extending_is_booked_and_has_an_end(lab, box, alice):
    services.request_extend(alice, box.vm_id, 60)
    assert minutes(lab) == 120
    assert lab.again(box).left(timezone.now()) > timedelta(minutes=119)
    with pytest.raises(BadInput):
        services.request_extend(alice, box.vm_id, 7 * 24 * 60)
    set_limits(lab.world.actor("admin"), lab.world.harbor, {"sandbox_minutes": 130})
    with pytest.raises(QuotaExceeded):
        services.request_extend(alice, box.vm_id, 60)
    assert minutes(lab) == 120


def test_a_kept_sandbox_is_a_machine_like_any_other(lab, box, alice):
    services.request_keep(alice, box.vm_id)
    used = quotas.usage(lab.world.harbor)
    assert (used["vms"], used["sandboxes"]) == (1, 0)
    assert used["sandbox_minutes"] <= 1
    assert not Sandbox.objects.exists()
    from vms.services import request_delete, request_start, request_stop

    for verb in (request_stop, request_start):
        verb(alice, box.vm_id)
        lab.world.drain()
    assert VirtualMachine.objects.get().observed_state == "running"
    assert evaluate(lab.world.hypervisor) == []
    request_delete(alice, box.vm_id)
    lab.world.drain()
    assert evaluate(lab.world.hypervisor) == []


def test_a_sandbox_is_kept_only_where_a_machine_has_room(lab, box, alice):
    set_limits(lab.world.actor("admin"), lab.world.harbor, {"vms": 0})
    with pytest.raises(QuotaExceeded):
        services.request_keep(alice, box.vm_id)
    assert VirtualMachine.objects.get().role == Role.SANDBOX


@pytest.mark.parametrize("verb", ["start", "resize", "create_again"])
def test_the_verbs_of_machines_do_not_get_around_a_lease(lab, box, alice, verb):
    from vms import services as machines

    more = ("small",) if verb == "resize" else ()
    with pytest.raises(InvalidState) as refused:
        getattr(machines, f"request_{verb}")(alice, box.vm_id, *more)
    assert "sandbox" in str(refused.value.detail)


# --- use ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("use", ["", "console", "run"])
def test_what_nobody_uses_is_paused_and_its_clock_too(lab, box, use):
    Template.objects.update(idle_minutes=10)
    if use == "console":
        ConsoleSession.objects.create(user=lab.world.alice, vm=box.vm, kind="vnc")
    elif use == "run":
        Run.objects.create(vm=box.vm, created_by=lab.world.alice, argv=["sleep"], status="running")
    pass_time(box, minutes=11)
    assert sweeps.pause_idle() == (0 if use else 1)
    lab.world.drain()
    assert lab.again(box).lease_status == ("running" if use else "paused")
    assert AuditEntry.objects.filter(action="sandbox.idle").exists() is not bool(use)


def test_every_idle_sandbox_has_its_turn_however_many_there_are(lab, box, monkeypatch):
    monkeypatch.setattr(lease_sweeps, "AT_ONCE", 1)
    Template.objects.update(idle_minutes=10)
    boxes = [box, *(lab.sandbox(f"box-{number}") for number in (2, 3, 4))]
    for one in reversed(boxes):
        pass_time(one, minutes=11)
        assert sweeps.pause_idle() == 1
        assert lab.again(one).lease_status == "paused"
        lab.world.drain()
    assert sweeps.pause_idle() == 0


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_file_that_comes_or_goes_is_use(lab, box, method):
    Template.objects.update(idle_minutes=10)
    pass_time(box, minutes=11)
    answer = lab.world.api("alice").call(
        method, f"sandboxes/{box.vm_id}/files?path=/tmp/x", b"" if method == "PUT" else None
    )
    assert answer.status_code == 200
    assert sweeps.pause_idle() == 0
    pass_time(box, minutes=11)
    assert sweeps.pause_idle() == 1
