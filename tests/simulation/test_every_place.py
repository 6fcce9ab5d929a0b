"""F1, exhaustively: each operation's worker is killed before every statement and around every hypervisor call.

The places are counted by a run that is left alone, so that no list of them has to be kept.
"""

from functools import partial

import pytest

from sandboxes import services as sandbox_services
from sandboxes.models import Template
from tests.portal.lab import SANDBOX_KINDS
from tests.simulation.model import Model
from tests.simulation.sandbox_model import SWEEP_SECONDS, SandboxModel
from vms import services
from vms.models import Operation, VirtualMachine
from vms.states import LIVE, OperationKind

BEFORE = {OperationKind.START: ["stop"], OperationKind.RESUME: ["pause"], OperationKind.RESIZE: ["stop"]}
ALONE_SECONDS = 120.0
REPAIRED_SECONDS = 30.0  # lease 15 s, bell 5 s, and what the work itself takes


def machine_steps(model, kind):
    """Ask for this kind, and before it for what it needs; each `yield` waits until that has ended, but for the last."""
    actor = model.world.actor("alice")
    vm = services.request_create(actor, services.NewVm("web-1", "micro", "nano", "harbor"))[0]
    for verb in [*BEFORE.get(kind, ()), kind] if kind != OperationKind.CREATE else ():
        yield
        more = ("medium",) if verb == OperationKind.RESIZE else ()
        getattr(services, f"request_{verb}")(actor, vm.pk, *more)


def sandbox_steps(model, kind):
    """The same for what sandboxes have. Beat makes what waits in the pool."""
    actor = model.world.actor("alice")
    Template.objects.update(pool_size=0)
    sandbox_services.request_prepare(model.world.actor("admin"), "micro")
    if kind == OperationKind.PREPARE:
        return
    yield
    if kind in (OperationKind.SPARE, OperationKind.CLAIM):
        Template.objects.update(pool_size=1)
        found = model.scheduler.run_until(Operation.objects.filter(kind="spare").exists, 3 * SWEEP_SECONDS)
        assert found
        if kind == OperationKind.SPARE:
            return
        yield
        Template.objects.update(pool_size=0)
    new = sandbox_services.NewSandbox("micro", project="harbor", name="box-1", lease_minutes=60)
    sandbox = sandbox_services.request_sandbox(actor, new)[0]
    verbs = {
        OperationKind.RESET: ["reset"],
        OperationKind.SUSPEND: ["pause"],
        OperationKind.RESTORE: ["pause", "resume"],
    }
    for verb in verbs.get(kind, ()):
        yield
        getattr(sandbox_services, f"request_{verb}")(actor, sandbox.vm_id)


def one(kind, kill_at, beginning, scheduler_for, patch):
    """Carry out one operation of a kind with its worker killed at that place (None: left alone); return the model."""
    scheduler = scheduler_for(1)
    world = beginning()
    with scheduler.watching():
        of_sandboxes = kind in SANDBOX_KINDS
        model = (SandboxModel if of_sandboxes else Model)(world, scheduler, patch)
        model.calm = True
        for _asked in (sandbox_steps if of_sandboxes else machine_steps)(model, kind):
            settle(scheduler)
        assert Operation.objects.filter(kind=kind).exists()
        scheduler.places, scheduler.kill_at = 0, kill_at
        really = scheduler.kill

        def kill(process):
            for operation_id in process.keeper._held:
                model.kills.setdefault(operation_id, scheduler.seconds)
            scheduler.later(1.0, partial(model._again, process))
            really(process)

        patch.setattr(scheduler, "kill", kill)
        settle(scheduler)
        patch.setattr(scheduler, "kill", really)
        model.settle()
        for process in scheduler.processes:
            scheduler.kill(process)
    return model


def settle(scheduler):
    assert scheduler.run_until(lambda: not Operation.objects.filter(status__in=LIVE).exists(), ALONE_SECONDS)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", sorted(OperationKind.values))
def test_killed_at_every_place_F1_F2(kind, beginning, scheduler_for, monkeypatch):
    with monkeypatch.context() as patch:
        places = one(kind, None, beginning, scheduler_for, patch).scheduler.places
    assert places > 10
    for place in range(1, places + 1):
        with monkeypatch.context() as patch:
            model = one(kind, place, beginning, scheduler_for, patch)
        ends = set(Operation.objects.values_list("status", "error_code"))
        assert ends == {("succeeded", "")}, (kind, place, ends, model.scheduler.trace[-40:])
        assert model.breaches() == [], (kind, place)
        assert max(model.repairs, default=0.0) <= REPAIRED_SECONDS, (kind, place)
        assert VirtualMachine.objects.exists() is (kind not in (OperationKind.DELETE, OperationKind.PREPARE))
