"""F1 for sandboxes: a worker dies at every step of preparing, cloning, handing out, resetting, pausing, taking back."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from hypervisor.specs import DomainState
from portal.invariants import evaluate
from sandboxes import lease_sweeps, services, sweeps
from sandboxes.models import Sandbox, Template, TemplateBuild
from tests.portal.lab import SANDBOX_KINDS, make_lab, stub_gateway
from tests.portal.test_faults_fake import Killed, die_at, places
from vms import quotas
from vms.models import Operation, VirtualMachine
from vms.operations import runner
from vms.states import LIVE, OperationKind, Role


@pytest.fixture
def lab(world, monkeypatch):
    stub_gateway(monkeypatch)
    return make_lab(world)


def asked(lab, kind):
    """Return (sandbox or None, operation): the operation waits on what is ready for it."""
    alice = lab.world.actor("alice")
    if kind == OperationKind.PREPARE:
        Template.objects.update(ready_script="#!/bin/sh\n")
        return None, services.request_prepare(lab.world.actor("admin"), "micro")[1][0]
    lab.prepared()
    if kind == OperationKind.SPARE:
        Template.objects.update(pool_size=1)
        sweeps.tend_pools()
        return Sandbox.objects.get(), Operation.objects.get(status__in=LIVE)
    if kind == OperationKind.CLAIM:
        lab.spares()
    box = lab.sandbox(drain=kind not in (OperationKind.CLAIM, OperationKind.CLONE))
    if kind == OperationKind.RESET:
        services.request_reset(alice, box.vm_id)
    if kind in (OperationKind.SUSPEND, OperationKind.RESTORE):
        services.request_pause(alice, box.vm_id)
    if kind == OperationKind.RESTORE:
        lab.world.drain()
        services.request_resume(alice, box.vm_id)
    return box, Operation.objects.get(vm=box.vm_id, status__in=LIVE)


@pytest.mark.parametrize("place", list(places(SANDBOX_KINDS)), ids=str)
def test_whoever_dies_anywhere_the_next_one_finishes_it_f1(lab, monkeypatch, place):
    box, operation = asked(lab, place.kind)
    assert operation.kind == place.kind
    with monkeypatch.context() as patch:
        die_at(patch, place)
        with pytest.raises(Killed):
            runner.run(operation.pk, lab.world.hypervisor)
    assert runner.run(operation.pk, lab.world.hypervisor) is False  # ended, or its lease has not run out
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))
    lab.world.drain()
    operation.refresh_from_db()
    assert (operation.status, operation.error_code, operation.progress) == ("succeeded", "", 100)
    assert operation.attempt == (1 if place.point == "after the end" else 2)
    assert evaluate(lab.world.hypervisor) == []
    check(lab, place.kind, box)
    refilled(lab)


@pytest.mark.parametrize("place", list(places({OperationKind.RESET})), ids=str)
def test_nor_does_a_waiting_clone_that_a_reset_took_get_lost_f1(lab, monkeypatch, place):
    lab.prepared()
    box = lab.sandbox()
    lab.spares()
    _, operation = services.request_reset(lab.world.actor("alice"), box.vm_id)
    assert operation.data["exchanged"]
    with monkeypatch.context() as patch:
        die_at(patch, place)
        with pytest.raises(Killed):
            runner.run(operation.pk, lab.world.hypervisor)
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))
    lab.world.drain()
    operation.refresh_from_db()
    assert (operation.status, operation.progress) == ("succeeded", 100)
    assert evaluate(lab.world.hypervisor) == []
    check(lab, OperationKind.RESET, box)
    refilled(lab)


@pytest.mark.parametrize("place", list(places({OperationKind.SUSPEND, OperationKind.DELETE})), ids=str)
def test_a_lease_ends_whoever_dies_meanwhile_f1(lab, monkeypatch, place):
    """Paused to disk at its end, deleted after its grace; at either the worker dies."""
    lab.prepared()
    box = lab.sandbox()
    Sandbox.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert sweeps.end_leases() == 1
    if place.kind == OperationKind.DELETE:
        lab.world.drain()
        Sandbox.objects.update(grace_until=Now() - timedelta(seconds=1))
        assert sweeps.delete_after_grace() == 1
    operation = Operation.objects.get(vm=box.vm_id, status__in=LIVE)
    assert operation.kind == place.kind
    with monkeypatch.context() as patch:
        die_at(patch, place)
        with pytest.raises(Killed):
            runner.run(operation.pk, lab.world.hypervisor)
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))
    lab.world.drain()
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("succeeded", "")
    assert evaluate(lab.world.hypervisor) == []
    if place.kind == OperationKind.DELETE:
        assert not VirtualMachine.objects.exists()
        assert lab.world.hypervisor._host.domains == {}
    else:
        assert lab.again(box).lease_status == "ended"
        check(lab, place.kind, box)
    refilled(lab)


@pytest.mark.parametrize("last", ["begin", "lose", "record"])
def test_a_sweep_that_dies_while_it_ends_a_lease_has_not_begun_f1(lab, monkeypatch, last):
    lab.prepared()
    box = lab.sandbox()
    Sandbox.objects.update(expires_at=Now() - timedelta(seconds=1))
    with monkeypatch.context() as patch:
        die_after(patch, lease_sweeps.running if last == "lose" else lease_sweeps, last)
        with pytest.raises(Killed):
            sweeps.end_leases()
    assert lab.again(box).lease_status == "running"
    assert not Operation.objects.filter(status__in=LIVE).exists()
    assert sweeps.end_leases() == 1
    lab.world.drain()
    check(lab, OperationKind.SUSPEND, box)
    assert evaluate(lab.world.hypervisor) == []


def die_after(patch, module, name):
    really = getattr(module, name)

    def dying(*args, **named):
        really(*args, **named)
        raise Killed

    patch.setattr(module, name, dying)


def refilled(lab):
    """The pool fills again, and nothing else is there than should be."""
    [spare] = lab.spares()
    assert spare.vm.observed_state == "paused"
    assert evaluate(lab.world.hypervisor) == []


def check(lab, kind, box):
    """What was wished for has come true once, and nothing else is left."""
    hosted = lab.world.hypervisor._host.domains
    assert TemplateBuild.objects.get().status == "ready"
    if kind == OperationKind.PREPARE:
        assert (hosted, VirtualMachine.objects.count()) == ({}, 0)
        return
    box = lab.again(box)
    [(uuid, domain)] = hosted.items()
    assert uuid == box.vm.domain_uuid
    state = {OperationKind.SPARE: DomainState.PAUSED, OperationKind.SUSPEND: DomainState.SUSPENDED}
    assert domain.state is state.get(kind, DomainState.RUNNING)
    assert domain.identity.hostname == ("sandbox" if kind == OperationKind.SPARE else box.vm.name)
    assert domain.identity.machine_id == uuid.hex
    assert VirtualMachine.objects.get().role == (Role.SPARE if kind == OperationKind.SPARE else Role.SANDBOX)
    used = quotas.usage(lab.world.harbor)
    assert (used["sandboxes"], used["vms"]) == (int(kind != OperationKind.SPARE), 0)
    assert used["running_vms"] == int(kind not in (OperationKind.SPARE, OperationKind.SUSPEND))
