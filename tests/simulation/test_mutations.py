"""The simulation notices an engine that is broken on purpose: each safeguard is taken away, and seeds must fail."""

from dataclasses import replace
from uuid import UUID

import pytest
from django.db.models import Q

from hypervisor.specs import DomainState
from tests.simulation.model import Model
from tests.simulation.seeds import MACHINES, simulate
from vms.operations import delete, runner
from vms.operations.context import Context, Fenced
from vms.operations.leases import Lease
from vms.states import OperationStatus

SEEDS = range(1, 61)  # at most: the first that notices suffices


class Standing(Model):
    """Workers that stand still in the middle of an operation, again and again: what fences are there for."""

    def misfortune(self):
        self._stop_one()


STANDING = replace(MACHINES, model=Standing)


def deaf_to_fences(patch):
    """A worker that is told that its operation is another's goes on all the same."""
    really = Context.guard

    def guard(context):
        try:
            really(context)
        except Fenced:
            return

    patch.setattr(Context, "guard", guard)


def leases_without_fence(patch):
    """Whoever once held an operation believes that it still does."""
    patch.setattr(Lease, "rows", lambda lease: Q(pk=lease.operation_id, status=OperationStatus.RUNNING))


def start_without_asking(patch):
    """A step that does not ask before it acts."""

    def ensure_running(context):
        if context.state() not in (DomainState.RUNNING, DomainState.PAUSED):
            context.hypervisor.start(context.vm.domain_uuid)
        context.observe()

    patch.setitem(runner.HANDLERS, "running", ensure_running)


def undefine_without_asking(patch):
    def ensure_undefined(context):
        if context.domain() is not None:
            delete.ensure_forced_off(context)
            context.hypervisor.undefine(context.vm.domain_uuid)

    patch.setitem(runner.HANDLERS, "undefined", ensure_undefined)


def acknowledged_and_lost(patch):
    """An operation's row vanishes once in a while."""
    really = runner.run

    def run(operation_id, hypervisor):
        answer = really(operation_id, hypervisor)
        if UUID(str(operation_id)).int % 7 == 0:
            runner.Operation.objects.filter(pk=operation_id, status=OperationStatus.SUCCEEDED).delete()
        return answer

    patch.setattr(runner, "run", run)


@pytest.mark.parametrize(
    ("mutation", "course", "said"),
    [
        (deaf_to_fences, STANDING, "not its own when it asked"),
        (leases_without_fence, STANDING, "not its own when it asked"),
        (start_without_asking, MACHINES, "without asking again"),
        (undefine_without_asking, MACHINES, "without asking again"),
        (acknowledged_and_lost, MACHINES, "is not in the journal"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_engine_without_a_safeguard_is_noticed(mutation, course, said, beginning, scheduler_for):
    for seed in SEEDS:
        with pytest.MonkeyPatch.context() as patch:
            mutation(patch)
            model, _breaches = simulate(course, seed, beginning, scheduler_for, patch)
        assert model.moments.acts
        if any(said in broken for broken in model.moments.broken):
            return
    pytest.fail(f"{len(SEEDS)} seeds did not notice {mutation.__name__}")
