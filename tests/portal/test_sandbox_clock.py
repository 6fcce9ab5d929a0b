"""F15 for sandboxes: the clock of whoever asks or sweeps is an hour off; leases go by the database's."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts import clock
from sandboxes import run_journal, services, sweeps
from sandboxes.models import Run, Sandbox, Template
from tests.portal.lab import make_lab, stub_gateway
from vms import quotas

SPANS = ("expires_at", "warn_at", "grace_until", "used_at")
CLOSE = timedelta(minutes=1)


@pytest.fixture
def lab(world, monkeypatch):
    stub_gateway(monkeypatch)
    made = make_lab(world)
    made.prepared()
    return made


@pytest.fixture(params=[timedelta(hours=1), timedelta(hours=-1), timedelta(days=40)], ids=["ahead", "behind", "far"])
def off(request, lab, monkeypatch):
    """Set this process's clock wrong; return by how much."""
    monkeypatch.setattr(timezone, "now", lambda: datetime.now(UTC) + request.param)
    return request.param


@pytest.fixture
def box(off, lab):
    return lab.sandbox()


def pass_time(box, **span):
    row = Sandbox.objects.get(pk=box.pk)
    for name in SPANS:
        if getattr(row, name):
            setattr(row, name, getattr(row, name) - timedelta(**span))
    row.save()


def within(moment, **span):
    """Is this moment so far from now, by the clock that is right?"""
    return abs(moment - datetime.now(UTC) - timedelta(**span)) < CLOSE


def test_the_databases_time_is_asked_for(off):
    assert within(clock.now())
    assert clock.now().utcoffset() == timedelta(0)


def test_a_lease_begins_and_is_booked_now_F15(lab, box):
    assert within(box.expires_at, hours=1)
    assert within(box.started_at)
    assert quotas.usage(lab.world.harbor)["sandbox_minutes"] == 60


def test_nobody_is_warned_or_ended_early_F15(lab, box):
    Template.objects.update(idle_minutes=10)
    assert (sweeps.warn_of_ends(), sweeps.end_leases(), sweeps.delete_after_grace()) == (0, 0, 0)
    assert sweeps.pause_idle() == 0


def test_nobody_is_warned_or_ended_late_F15(lab, box):
    pass_time(box, minutes=56)
    assert sweeps.warn_of_ends() == 1
    pass_time(box, minutes=5)
    assert sweeps.end_leases() == 1
    lab.world.drain()
    assert within(lab.again(box).grace_until, hours=24)
    assert sweeps.delete_after_grace() == 0
    pass_time(box, hours=25)
    assert sweeps.delete_after_grace() == 1


def test_what_was_taken_back_has_its_new_lease_F15(lab, box):
    pass_time(box, hours=2)
    sweeps.end_leases()
    lab.world.drain()
    services.request_restore(lab.world.actor("alice"), box.vm_id, 30)
    assert within(lab.again(box).expires_at, minutes=30)


def test_what_nobody_uses_is_paused_in_time_and_keeps_what_was_left_F15(lab, box):
    Template.objects.update(idle_minutes=10)
    pass_time(box, minutes=11)
    assert sweeps.pause_idle() == 1
    assert 48 * 60 <= lab.again(box).remaining_seconds <= 49 * 60


def test_a_clock_that_stood_still_goes_on_where_it_stood_F15(lab, box):
    alice = lab.world.actor("alice")
    services.request_pause(alice, box.vm_id)
    lab.world.drain()
    assert lab.again(box).remaining_seconds in range(3590, 3601)
    services.request_resume(alice, box.vm_id)
    lab.world.drain()
    assert within(lab.again(box).expires_at, hours=1)
    services.request_extend(alice, box.vm_id, 30)
    assert within(lab.again(box).expires_at, minutes=90)
    services.request_delete(alice, box.vm_id)
    assert quotas.usage(lab.world.harbor)["sandbox_minutes"] <= 1


def test_a_run_waits_half_an_hour_and_no_longer_F15(lab, box):
    run = Run.objects.create(vm=box.vm, created_by=lab.world.alice, argv=["true"])
    sweeps.tend_runs()
    run.refresh_from_db()
    assert run.status == "pending"
    Run.objects.update(created_at=clock.now() - timedelta(minutes=31))
    sweeps.tend_runs()
    run.refresh_from_db()
    assert (run.status, run.error_code) == ("failed", "not_started")
    assert within(run.finished_at)


def test_a_gateway_knows_how_long_a_run_has_been_running_F15(lab, box):
    run = Run.objects.create(
        vm=box.vm, created_by=lab.world.alice, argv=["true"], status="running", domain_uuid=box.vm.domain_uuid,
        started_at=clock.now() - timedelta(seconds=100),
    )  # fmt: skip
    assert 100 <= run_journal.job(run.pk).age_seconds < 130
