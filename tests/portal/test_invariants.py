"""The audit sees what it says it sees: each promise is broken on purpose, and named."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models.functions import Now

from accounts.services import set_limits
from hypervisor.specs import SeedSpec
from portal.invariants import evaluate
from sandboxes import services as sandbox_services
from tests.portal.lab import make_lab
from vms import quotas, services
from vms.models import Operation, UsageEntry, VirtualMachine, Volume

CARD = ("52:54:00:00:0b:ad", "10.71.0.99")


def broken(world):
    """Return {code: what was said} of a world; each code once."""
    return {breach.code: breach.what for breach in evaluate(world.hypervisor)}


@pytest.fixture
def machine(world):
    vm = world.vm()
    assert broken(world) == {}
    return vm


def on_the_host(world, network):
    return world.hypervisor._host.networks[network]


# --- I1 -------------------------------------------------------------------------------------------------------
def test_a_card_that_may_still_send_and_is_nobodys_I1(world, machine):
    on_the_host(world, world.network.name).guests.update([CARD])
    said = broken(world)
    assert said.keys() == {"I1"}
    assert f"{CARD[0]} may send as {CARD[1]}" in said["I1"]


def test_a_card_that_a_sandboxes_guard_still_lets_send_I1(world):
    lab = make_lab(world)
    lab.prepared()
    lab.sandbox()
    assert broken(world) == {}
    [name] = [name for name in world.hypervisor._host.networks if name.endswith("-nat")]
    on_the_host(world, name).guests.update([CARD])
    assert broken(world).keys() == {"I1"}


def test_an_address_that_is_nobodys_I1(world, machine):
    world.hypervisor.ensure_address(world.network.name, *CARD)
    assert "belongs to no machine" in broken(world)["I1"]


def test_a_seed_that_is_nobodys_I1(world, machine):
    world.hypervisor.ensure_seed(world.pool.name, "0b0b0b0b-0000-4000-8000-000000000000.iso", seed())
    assert broken(world) == {
        "I1": f"file 0b0b0b0b-0000-4000-8000-000000000000.iso in pool {world.pool.name} belongs to no machine"
    }


def seed():
    return SeedSpec(uuid4(), "guest", (), "", b"")


# --- I2 -------------------------------------------------------------------------------------------------------
def test_a_disk_that_is_not_counted_I2(world, machine):
    Volume.objects.filter(vm=machine).update(size_gib=50)
    assert "is counted with 2 GiB and has volumes of 50 GiB" in broken(world)["I2"]


def test_a_limit_that_was_lowered_under_usage_is_none_F19_I2(world):
    world.vm("web-1")
    world.vm("web-2")
    set_limits(world.actor("admin"), world.harbor, {"vms": 1})
    assert broken(world) == {}


@pytest.mark.parametrize("member", [False, True], ids=["project", "member"])
def test_a_machine_more_than_the_limit_that_was_there_before_it_I2(world, member, monkeypatch):
    own = {"alice": {"vms": 1}} if member else {}
    set_limits(world.actor("admin"), world.harbor, {} if member else {"vms": 1}, own)
    first = world.vm("web-1")
    monkeypatch.setattr(quotas, "require", lambda *_args, **_options: None)  # a check that is none
    second = world.vm("web-2")
    assert broken(world) == {}  # within one transaction's time the order cannot be told
    VirtualMachine.objects.filter(pk=second.pk).update(created_at=Now() + timedelta(minutes=5))
    who = "alice in harbor" if member else "harbor"
    assert broken(world) == {"I2": f"{who} uses 2 of 1 vms, and has grown since that limit was set"}
    services.request_delete(world.actor("alice"), first.pk)
    world.drain()
    assert broken(world) == {}


@pytest.fixture
def lab(world):
    lab = make_lab(world)
    lab.prepared()
    lab.sandbox()
    assert broken(world) == {}
    return lab


def test_a_lease_that_is_not_booked_I2(world, lab):
    UsageEntry.objects.all().delete()
    assert "s of lease left and 0 s booked" in broken(world)["I2"]


def test_a_lease_that_was_booked_back_twice_I2(world, lab):
    [box] = VirtualMachine.objects.filter(name="box-1")
    sandbox_services.request_delete(world.actor("alice"), box.pk)
    world.drain()
    assert broken(world) == {}
    back = UsageEntry.objects.get(seconds__lt=0)
    UsageEntry.objects.create(
        project=back.project, member=back.member, vm_id=box.pk, vm_name=box.name, month=back.month,
        seconds=back.seconds, why="delete",
    )  # fmt: skip
    assert "s of lease more than it was booked with" in broken(world)["I2"]


# --- I5, I6 ---------------------------------------------------------------------------------------------------
def test_a_preparation_that_is_lost_I5(world):
    lab = make_lab(world)
    lab.prepared()
    assert broken(world) == {}
    Operation.objects.filter(kind="prepare").delete()
    assert "(template.prepare) was acknowledged and is not in the journal" in broken(world)["I5"]


def test_a_row_that_went_without_a_delete_I6(world, machine):
    operation = services.request_stop(world.actor("alice"), machine.pk)[1]
    vanish(machine)
    assert "I6" not in broken(world)  # nobody can tell yet: it is under way
    world.drain()
    assert Operation.objects.get(pk=operation.pk).error_code == "vm_gone"
    assert broken(world)["I6"] == f"machine {machine.pk} (web-1) has no row, and no delete of it has succeeded"


def test_a_row_that_went_by_a_delete_is_none_I6(world, machine):
    services.request_delete(world.actor("alice"), machine.pk)
    world.drain()
    assert not VirtualMachine.objects.exists()
    assert broken(world) == {}


def vanish(vm):
    """Remove the rows as a hand in the database would."""
    Volume.objects.filter(vm=vm).delete()
    vm.nics.all().delete()
    VirtualMachine.objects.filter(pk=vm.pk).delete()
