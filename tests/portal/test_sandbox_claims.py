"""Many people, few spares: no clone is ever handed to two of them, and nobody gets past a quota."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from accounts.refusals import QuotaExceeded
from accounts.services import set_limits
from portal.invariants import evaluate
from sandboxes import services, sweeps
from sandboxes.models import Sandbox, Template
from tests.portal.lab import make_lab, stub_gateway
from tests.portal.world import make_world
from vms import quotas
from vms.models import VirtualMachine
from vms.states import Role

SPARES, PEOPLE = 4, 12


@pytest.fixture
def lab(transactional_db, monkeypatch):
    stub_gateway(monkeypatch)
    lab = make_lab(make_world())
    set_limits(lab.world.actor("admin"), lab.world.harbor, {"sandboxes": 20, "vcpus": 40, "running_vms": 40})
    set_limits(lab.world.actor("admin"), lab.world.harbor, {"running_vcpus": 40})
    lab.prepared()
    return lab


def at_once(works):
    """Do all of these in threads that begin together; return what they returned or raised."""
    gate = threading.Barrier(len(works))

    def do(work):
        gate.wait()
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - it is what is looked at
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(do, works))


def asking(lab, number):
    def ask():
        new = services.NewSandbox(template="micro", project="harbor", name=f"box-{number}")
        return services.request_sandbox(lab.world.actor("alice" if number % 2 else "bob"), new)[0]

    return ask


def test_a_spare_is_never_handed_to_two_people_a19(lab):
    lab.spares(SPARES)
    got = at_once([asking(lab, number) for number in range(PEOPLE)])
    assert all(isinstance(found, Sandbox) for found in got), got
    assert len({found.vm_id for found in got}) == PEOPLE
    assert sum(found.claimed for found in got) == SPARES
    assert quotas.usage(lab.world.harbor)["sandboxes"] == PEOPLE
    lab.world.drain()
    names = [domain.identity.hostname for domain in lab.world.hypervisor._host.domains.values()]
    assert sorted(names) == sorted(f"box-{number}" for number in range(PEOPLE))
    assert evaluate(lab.world.hypervisor) == []


def test_claims_and_clones_together_stop_at_the_limit_a19(lab):
    set_limits(lab.world.actor("admin"), lab.world.harbor, {"sandboxes": 5})
    lab.spares(SPARES)
    got = at_once([asking(lab, number) for number in range(PEOPLE)])
    assert sum(isinstance(found, Sandbox) for found in got) == 5
    assert sum(isinstance(found, QuotaExceeded) for found in got) == PEOPLE - 5
    assert VirtualMachine.objects.filter(role=Role.SANDBOX).count() == 5


def test_a_spare_is_handed_out_or_taken_away_but_not_both(lab):
    lab.spares(SPARES)
    Template.objects.update(pool_size=0)
    got = at_once([*(asking(lab, number) for number in range(SPARES)), sweeps.tend_pools])
    lab.world.drain()
    boxes = [found for found in got if isinstance(found, Sandbox)]
    assert len(boxes) == SPARES, got
    there = VirtualMachine.objects.filter(role=Role.SANDBOX).exclude(desired_state="deleted")
    assert {box.vm_id for box in boxes} == set(there.values_list("pk", flat=True))
    assert not VirtualMachine.objects.filter(role=Role.SPARE).exists()
    assert evaluate(lab.world.hypervisor) == []


def test_a_spare_goes_to_a_claim_or_to_a_reset_but_not_to_both(lab):
    boxes = [lab.sandbox(f"old-{number}") for number in range(3)]
    spares = {spare.vm.domain_uuid for spare in lab.spares(SPARES)}
    Template.objects.update(pool_size=0)

    def resetting(box):
        return lambda: services.request_reset(lab.world.actor("alice"), box.vm_id)

    got = at_once([*map(resetting, boxes), *(asking(lab, number) for number in range(3))])
    claimed = [found for found in got if isinstance(found, Sandbox) and found.claimed]
    reset = [operation for _box, operation in (found for found in got if isinstance(found, tuple))]
    assert len(reset) == 3, got
    assert len(claimed) + sum(operation.data["exchanged"] for operation in reset) == SPARES
    lab.world.drain()
    rows = VirtualMachine.objects.values_list("domain_uuid", flat=True)
    assert spares <= set(rows)
    assert set(rows) == set(lab.world.hypervisor._host.domains)
    assert evaluate(lab.world.hypervisor) == []


def test_two_sweeps_at_once_do_not_fill_a_pool_twice(lab):
    Template.objects.update(pool_size=2)
    at_once([sweeps.tend_pools] * 4)
    assert VirtualMachine.objects.filter(role=Role.SPARE).count() == 2
