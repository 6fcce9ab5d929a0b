"""F25: what a worker does not know is left to a newer one, for a day at most; it neither fails nor looks stuck."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from portal.invariants import evaluate
from vms import services, sweeps
from vms.models import Operation, VirtualMachine
from vms.operations import runner

AHEAD = [{"step": "of_tomorrow"}, {"kind": "of_tomorrow"}]


def look(world, operation):
    """Let a worker have a look; return the row."""
    Operation.objects.filter(pk=operation.pk).update(not_before=None)
    runner.run(operation.pk, world.hypervisor)
    operation.refresh_from_db()
    return operation


@pytest.fixture(params=AHEAD, ids=lambda ahead: next(iter(ahead)))
def parked(request, world):
    """A pause, whose own time is a minute, of a version that nobody here has."""
    operation = services.request_pause(world.actor("alice"), world.vm().pk)[1]
    Operation.objects.filter(pk=operation.pk).update(**request.param)
    return look(world, operation)


def time_passes(operation, **span):
    """Let the operation be as much older."""
    row = Operation.objects.get(pk=operation.pk)
    Operation.objects.filter(pk=row.pk).update(
        deadline_at=row.deadline_at - timedelta(**span), created_at=row.created_at - timedelta(**span)
    )


def test_it_waits_longer_than_its_own_time_and_is_done_when_a_newer_worker_comes_F25(world, parked):
    assert (parked.status, parked.lease_owner) == ("pending", "")
    assert parked.not_before is not None
    for _hour in range(5):
        time_passes(parked, hours=4)
        assert sweeps.end_overdue() == 0
        assert look(world, parked).status == "pending"
    assert evaluate(world.hypervisor) == []
    Operation.objects.filter(pk=parked.pk).update(step="", kind="pause")  # the newer worker, which knows it
    assert look(world, parked).status == "succeeded"
    assert not parked.is_parked
    assert (parked.deadline_at - parked.finished_at).total_seconds() <= 60  # its own time again
    assert world.hypervisor.domain(parked.vm.domain_uuid).state == "paused"


def test_it_fails_after_a_day_with_a_reason_that_is_so_F25(world, parked):
    time_passes(parked, hours=25)
    look(world, parked)  # does not begin another day
    assert sweeps.end_overdue() == 1
    parked.refresh_from_db()
    assert (parked.status, parked.error_code) == ("failed", "worker_too_old")
    assert "node-1" in parked.error_detail
    assert evaluate(world.hypervisor) == []


def test_pages_and_api_say_what_it_waits_for_F25(world, parked):
    page = world.browser("alice").get(f"/vms/{parked.vm_id}/").content.decode()
    assert "Waiting for a newer worker" in page
    assert "The worker of node-1 does not know this step." in page
    assert world.browser("admin").get("/admin-desk/").status_code == 200
    answer = world.api("alice").call("GET", f"operations/{parked.pk}")
    assert (answer.status_code, answer.json()["kind"]) == (200, parked.kind)
    busy = world.api("alice").call("POST", f"vms/{parked.vm_id}/stop")
    assert (busy.status_code, busy.json()["code"]) == (409, "operation_in_progress")


def test_a_delete_takes_its_place_F25(world, parked):
    services.request_delete(world.actor("alice"), parked.vm_id)
    world.drain()
    parked.refresh_from_db()
    assert (parked.status, parked.error_code) == ("cancelled", "preempted")
    assert not VirtualMachine.objects.exists()
    page = world.browser("admin").get("/admin-desk/operations/")
    assert page.status_code == 200
    assert evaluate(world.hypervisor) == []


def test_a_delete_whose_worker_died_right_before_it_said_so_is_no_failure_I6(world):
    vm = world.vm()
    operation = services.request_delete(world.actor("alice"), vm.pk)
    world.drain()
    Operation.objects.filter(pk=operation.pk).update(
        status="pending", finished_at=None, deadline_at=Now() - timedelta(seconds=1)
    )
    assert sweeps.end_overdue() == 1
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("succeeded", "")
    assert evaluate(world.hypervisor) == []
