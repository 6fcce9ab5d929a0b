"""Seeded random faults around sandboxes: whoever dies, pools refill, nothing is left, nothing is handed out twice."""

import os

import pytest

from tests.simulation.sandbox_model import SandboxModel
from vms.models import Operation

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "8"))
FIRST = int(os.environ.get("SIMULATION_FIRST", "1"))
NIGHTLY = 600
ASKED = 25
SPAN_SECONDS = 90.0


def simulate(seed, beginning, scheduler_for, monkeypatch):
    """Run one seed to its end; return the model and what is not as promised."""
    scheduler = scheduler_for(seed)
    world = beginning()
    with scheduler.watching():
        model = SandboxModel(world, scheduler, monkeypatch)
        for _number in range(ASKED):
            scheduler.later(scheduler.chance.uniform(0, SPAN_SECONDS), model.person_asks)
        for _number in range(scheduler.chance.randint(2, 16)):
            scheduler.later(scheduler.chance.uniform(1, SPAN_SECONDS), model.misfortune)
        scheduler.run_until(lambda: False, SPAN_SECONDS + 1)
        model.settle()
        for process in scheduler.processes:
            scheduler.kill(process)
    return model, model.breaches()


def check(seed, *fixtures):
    model, breaches = simulate(seed, *fixtures)
    if breaches:
        story = "\n".join(model.scheduler.trace[-150:])
        again = f"SIMULATION_FIRST={seed} SIMULATION_SEEDS=1 ./dev test tests/simulation/test_sandbox_seeds.py"
        pytest.fail("\n".join([*breaches, "", story, "", f"run it again: {again}"]), pytrace=False)
    assert model.acknowledged
    return model


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_sandboxes_of_a_seed(seed, beginning, scheduler_for, monkeypatch):
    check(seed, beginning, scheduler_for, monkeypatch)


@pytest.mark.nightly
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(100_001, 100_001 + NIGHTLY))
def test_sandboxes_of_a_night_seed(seed, beginning, scheduler_for, monkeypatch):
    check(seed, beginning, scheduler_for, monkeypatch)


def test_the_seeds_do_what_sandboxes_do(beginning, scheduler_for, monkeypatch):
    """Or nothing would be shown."""
    kinds = set()
    for seed in (1, 2, 3, 4):
        with monkeypatch.context() as patch:
            check(seed, beginning, scheduler_for, patch)
        kinds |= set(Operation.objects.filter(status="succeeded").values_list("kind", flat=True))
    assert {"prepare", "spare", "claim", "clone", "reset", "suspend", "delete"} <= kinds
