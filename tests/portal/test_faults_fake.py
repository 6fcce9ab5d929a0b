"""F1 on the fake hypervisor: a worker dies at every step of every operation, as the lists of steps name them.

Nothing is listed here: a new step or operation is killed as soon as it stands in `vms.steps`. What "dies" means is
a BaseException at the chosen point with everything switched off that a killed process would not have done either.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from hypervisor import errors
from hypervisor.specs import DomainState
from portal.invariants import evaluate
from tests.portal.lab import SANDBOX_KINDS
from vms import quotas, services
from vms.models import Operation, VirtualMachine
from vms.operations import runner
from vms.states import OperationKind
from vms.steps import STEPS

AROUND = ("before its entry", "before its effect", "after its effect")
THE_END = ("before the end", "after the end")
# what has to have happened to a machine before a kind can be asked for, besides its create
BEFORE = {OperationKind.START: ["stop"], OperationKind.RESUME: ["pause"], OperationKind.RESIZE: ["stop"]}
BOOTS = {OperationKind.START: 2, OperationKind.REBOOT: 2, OperationKind.DELETE: None}
DESIRED = {
    OperationKind.STOP: "stopped",
    OperationKind.FORCE_OFF: "stopped",
    OperationKind.PAUSE: "paused",
    OperationKind.RESIZE: "stopped",
}


class Killed(BaseException):
    """Passes through everything, as SIGKILL would."""


@dataclass(frozen=True)
class Place:
    """Where a worker dies: in which operation, at which of its steps ("" = its end), on which side of what."""

    kind: str
    step: str
    point: str

    def __str__(self) -> str:
        return f"{self.kind}-{self.step or 'end'}-{self.point.replace(' ', '_')}"


KINDS = frozenset(STEPS) - SANDBOX_KINDS  # the others are killed in test_sandbox_faults.py


def places(kinds=KINDS) -> Iterator[Place]:
    for kind, steps in STEPS.items():
        if kind not in kinds:
            continue
        for step in steps:
            yield from (Place(kind, step.name, point) for point in AROUND)
        yield from (Place(kind, "", point) for point in THE_END)


def asked(world, kind):
    """Return (machine, operation): the operation waits on a machine that is ready for it."""
    vm = world.vm(drain=kind != OperationKind.CREATE)
    if kind == OperationKind.CREATE:
        return vm, vm.operations.get()
    for verb in BEFORE.get(kind, ()):
        getattr(services, f"request_{verb}")(world.actor("alice"), vm.pk)
        world.drain()
    more = ("medium",) if kind == OperationKind.RESIZE else ()
    answer = getattr(services, f"request_{kind}")(world.actor("alice"), vm.pk, *more)
    return vm, answer[1] if isinstance(answer, tuple) else answer


def die_at(patch, place):
    """Make the next attempt end there, without anything that a killed process would not have done."""
    patch.setattr(runner, "release", lambda lease: None)
    patch.setattr(runner, "_ring_successor", lambda operation_id: None)
    fatal(patch, place, _fall)


def _fall():
    raise Killed


def fatal(patch, place, die):
    """Let whoever comes to this place call `die()` there."""
    if place.point in THE_END:
        _die(patch, runner, "_end", place, die, lambda *_: True)
    elif place.point == "before its entry":  # in the journal, which also ends the step before it
        _die(patch, runner, "_enter", place, die, lambda _context, steps, index: steps[index].name == place.step)
    else:
        handler = runner.HANDLERS[place.step]
        patch.setitem(runner.HANDLERS, place.step, _dying(handler, place, die, lambda *_: True))


def _die(patch, module, name, place, die, where):
    patch.setattr(module, name, _dying(getattr(module, name), place, die, where))


def _dying(really, place, die, where):
    def dying(*args):
        if not where(*args):
            return really(*args)
        if place.point.startswith("after"):
            really(*args)
        return die()

    return dying


@pytest.mark.parametrize("place", list(places()), ids=str)
def test_whoever_dies_anywhere_the_next_one_finishes_it_F1(world, monkeypatch, place):
    vm, operation = asked(world, place.kind)
    with monkeypatch.context() as patch:
        die_at(patch, place)
        with pytest.raises(Killed):
            runner.run(operation.pk, world.hypervisor)
    assert runner.run(operation.pk, world.hypervisor) is False  # ended, or its lease has not run out
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=Now() - timedelta(seconds=1))
    world.drain()
    operation.refresh_from_db()
    assert (operation.status, operation.error_code, operation.progress) == ("succeeded", "", 100)
    assert operation.attempt == (1 if place.point == "after the end" else 2)
    assert evaluate(world.hypervisor) == []
    check_machine(world, vm, place.kind)


def check_machine(world, vm, kind):
    """The wish has come true, exactly once, and is counted as it is."""
    found = VirtualMachine.objects.filter(pk=vm.pk).first()
    if kind == OperationKind.DELETE:
        assert found is None
        assert world.hypervisor.addresses(world.network.name) == {}
        assert set(quotas.usage(world.harbor).values()) == {0}
        return
    assert found is not None
    wanted = DESIRED.get(kind, "running")
    assert (found.desired_state, found.observed_state, found.failure) == (wanted, wanted, "")
    assert world.hypervisor.domain(vm.domain_uuid).state is DomainState(wanted)
    assert world.hypervisor.boots(vm.domain_uuid) == BOOTS.get(kind, 1)
    used = quotas.usage(world.harbor)
    assert (used["vms"], used["running_vms"]) == (1, int(wanted != "stopped"))
    assert used["disk_gib"] == (16 if kind == OperationKind.RESIZE else 2)


def test_there_is_a_place_for_every_step():
    """The matrix above is as long as the lists of steps say."""
    assert len(list(places(frozenset(STEPS)))) == sum(3 * len(steps) + 2 for steps in STEPS.values())


def test_a_guest_that_finds_no_room_while_it_boots_ends_the_wait_for_it_F8(world, monkeypatch):
    vm = world.vm(drain=False)

    def writes(uuid, *_args, **_kwargs):
        world.hypervisor.happen(uuid, DomainState.PAUSED, "io_error")
        raise errors.AgentUnavailable("paused")

    monkeypatch.setattr(world.hypervisor, "agent", writes)
    world.drain()
    operation = vm.operations.get()
    assert (operation.status, operation.error_code) == ("failed", "pool_full")
    found = VirtualMachine.objects.get(pk=vm.pk)
    assert (found.desired_state, found.observed_state, found.observed_reason) == ("paused", "paused", "io_error")
    assert evaluate(world.hypervisor) == []
