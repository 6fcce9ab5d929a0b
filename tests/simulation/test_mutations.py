"""The simulation notices an engine that is broken on purpose: each safeguard is taken away, and seeds must fail."""

from uuid import UUID

import pytest
from django.db.models import Q

from hypervisor.specs import DomainState
from tests.simulation.seeds import MACHINES, simulate
from vms.operations import delete, runner
from vms.operations.context import Context, Fenced
from vms.operations.leases import Lease
from vms.states import OperationStatus

SEEDS = range(1, 41)  # at most: the first that notices suffices


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
    ("mutation", "said"),
    [
        (deaf_to_fences, "not its own when it asked"),
        (leases_without_fence, "not its own when it asked"),
        (start_without_asking, "without asking again"),
        (undefine_without_asking, "without asking again"),
        (acknowledged_and_lost, "is not in the journal"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_engine_without_a_safeguard_is_noticed(mutation, said, beginning, scheduler_for):
    for seed in SEEDS:
        with pytest.MonkeyPatch.context() as patch:
            mutation(patch)
            model, _breaches = simulate(MACHINES, seed, beginning, scheduler_for, patch)
        assert model.moments.acts
        if any(said in broken for broken in model.moments.broken):
            return
    pytest.fail(f"{len(SEEDS)} seeds did not notice {mutation.__name__}")
