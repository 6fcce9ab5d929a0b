"""F1, exhaustively: each operation's worker is killed before every statement and around every hypervisor call.

The places are counted by a run that is left alone, so that no list of them has to be kept.
"""

from functools import partial

import pytest

from tests.portal.lab import SANDBOX_KINDS
from tests.simulation.model import Model
from vms import services
from vms.models import Operation, VirtualMachine
from vms.states import OperationKind

BEFORE = {OperationKind.START: ["stop"], OperationKind.RESUME: ["pause"], OperationKind.RESIZE: ["stop"]}
ALONE_SECONDS = 120.0
REPAIRED_SECONDS = 30.0  # lease 15 s, bell 5 s, and what the work itself takes


def one(kind, kill_at, beginning, scheduler_for, patch):
    """Carry out one operation of a kind with its worker killed at that place (None: left alone); return the model."""
    scheduler = scheduler_for(1)
    world = beginning()
    with scheduler.watching():
        model = Model(world, scheduler, patch)
        model.calm = True
        actor = world.actor("alice")
        vm = services.request_create(actor, services.NewVm("web-1", "micro", "nano", "harbor"))[0]
        for verb in [*BEFORE.get(kind, ()), kind] if kind != OperationKind.CREATE else ():
            settle(scheduler)
            more = ("medium",) if verb == OperationKind.RESIZE else ()
            getattr(services, f"request_{verb}")(actor, vm.pk, *more)
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
    from vms.states import LIVE

    assert scheduler.run_until(lambda: not Operation.objects.filter(status__in=LIVE).exists(), ALONE_SECONDS)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", sorted(set(OperationKind.values) - SANDBOX_KINDS))
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
        assert VirtualMachine.objects.exists() is (kind != OperationKind.DELETE)
