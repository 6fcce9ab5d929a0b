"""F19, F20, F21: limits, people and images change under machines and under what is being done to them."""

import pytest
from django.db.models import ProtectedError
from django.db.models.functions import Now

from accounts.models import AuditEntry
from accounts.refusals import QuotaExceeded
from accounts.services import deactivate_user, set_limits
from portal.invariants import evaluate
from tests.portal.test_faults_fake import Killed, Place, die_at
from vms import quotas, services
from vms.models import Image, Operation, VirtualMachine
from vms.operations import blueprint, runner
from vms.states import OperationKind
from vms.steps import STEPS


def test_a_limit_below_what_is_used_kills_nothing_and_stops_growth_F19(world):
    first, second = world.vm("web-1"), world.vm("web-2")
    stopped = world.vm("web-3")
    services.request_stop(world.actor("alice"), stopped.pk)
    world.drain()
    set_limits(world.actor("admin"), world.harbor, {"vms": 1, "running_vms": 1, "disk_gib": 1})
    assert {world.hypervisor.domain(vm.domain_uuid).state for vm in (first, second)} == {"running"}
    with pytest.raises(QuotaExceeded):
        services.request_create(world.actor("alice"), services.NewVm("web-4", "micro", "nano", "harbor"))
    with pytest.raises(QuotaExceeded):
        services.request_start(world.actor("alice"), stopped.pk)
    with pytest.raises(QuotaExceeded):
        services.request_resize(world.actor("alice"), stopped.pk, "medium")
    services.request_reboot(world.actor("alice"), first.pk)  # needs no more than there is
    services.request_stop(world.actor("alice"), second.pk)
    world.drain()
    services.request_delete(world.actor("alice"), second.pk)
    world.drain()
    assert quotas.usage(world.harbor)["vms"] == 2
    assert not Operation.objects.exclude(status="succeeded").exists()
    assert evaluate(world.hypervisor) == []


def test_whoever_is_shut_out_gets_nothing_more_done_and_loses_no_machine_F20(world):
    running = world.vm("web-1")
    waiting = world.vm("web-2", drain=False)
    _vm, reboot = services.request_reboot(world.actor("alice"), running.pk)
    services.request_delete(world.actor("bob"), world.vm("web-3", by="bob", drain=False).pk)
    deactivate_user(world.actor("admin"), world.alice)
    world.drain()
    reboot.refresh_from_db()
    for operation in (waiting.operations.get(), reboot):
        assert (operation.status, operation.error_code) == ("failed", "actor_disabled")
    assert world.hypervisor.domain(running.domain_uuid).state == "running"  # others of the project use it
    assert not VirtualMachine.objects.filter(name="web-3").exists()
    for vm in (running, waiting):
        services.request_delete(world.actor("admin"), vm.pk)
    world.drain()
    assert not VirtualMachine.objects.exists()
    assert set(quotas.usage(world.harbor).values()) == {0}
    assert AuditEntry.objects.filter(action="vm.create", actor=world.alice).count() == 2  # what they did is kept
    assert evaluate(world.hypervisor) == []


def test_who_has_machines_cannot_be_deleted_from_the_database_F20(world):
    world.vm("web-1")
    with pytest.raises(ProtectedError):
        world.alice.delete()
    assert evaluate(world.hypervisor) == []


@pytest.mark.parametrize("step", [step.name for step in STEPS[OperationKind.CREATE]])
def test_an_image_stays_while_a_machine_is_made_from_it_F21(world, monkeypatch, step):
    vm = world.vm(drain=False)
    operation, image = vm.operations.get(), vm.image
    with monkeypatch.context() as patch:
        die_at(patch, Place("create", step, "before its effect"))
        with pytest.raises(Killed):
            runner.run(operation.pk, world.hypervisor)
    with pytest.raises(ProtectedError):
        image.delete()
    Image.objects.create(  # its successor has a file of its own
        name="micro-2", title="Slipway micro", file_name="micro-2.qcow2", sha256="1" * 64, size_bytes=10**7,
        virtual_size_bytes=2**30,
    )  # fmt: skip
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now())
    world.drain()
    [volume] = vm.volumes.all()
    found = world.hypervisor.volume(volume.pool.name, volume.file_name)
    assert found is not None
    assert world.hypervisor._host.pool(volume.pool.name).volumes[volume.file_name].base_path == blueprint.image_path(
        image
    )
    assert evaluate(world.hypervisor) == []
