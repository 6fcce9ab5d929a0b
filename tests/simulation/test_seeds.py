"""Seeded random faults: whatever dies, whenever it dies, everything acknowledged ends and the portal tells the truth.

A failing seed is run again, alone and with its story, by the command that the failure prints.
"""

import os

import pytest

from tests.simulation.model import Model

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "160"))
FIRST = int(os.environ.get("SIMULATION_FIRST", "1"))
NIGHTLY = 3000
ASKED = 30  # things that people ask for in one run
SPAN_SECONDS = 60.0


def simulate(seed, beginning, scheduler_for, monkeypatch):
    """Run one seed to its end; return the model and what is not as promised."""
    scheduler = scheduler_for(seed)
    world = beginning()
    with scheduler.watching():
        model = Model(world, scheduler, monkeypatch)
        for _number in range(ASKED):
            scheduler.later(scheduler.chance.uniform(0, SPAN_SECONDS), model.person_asks)
        for _number in range(scheduler.chance.randint(2, 24)):
            scheduler.later(scheduler.chance.uniform(1, SPAN_SECONDS), model.misfortune)
        scheduler.run_until(lambda: False, SPAN_SECONDS + 1)
        model.settle()
        for process in scheduler.processes:
            scheduler.kill(process)
    return model, model.breaches()


def check(seed, *fixtures):
    model, breaches = simulate(seed, *fixtures)
    if breaches:
        story = "\n".join(model.scheduler.trace[-120:])
        again = f"SIMULATION_FIRST={seed} SIMULATION_SEEDS=1 ./dev test tests/simulation/test_seeds.py -k seed"
        pytest.fail("\n".join([*breaches, "", story, "", f"run it again: {again}"]), pytrace=False)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_seed(seed, beginning, scheduler_for, monkeypatch):
    check(seed, beginning, scheduler_for, monkeypatch)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100_001, 100_001 + NIGHTLY))
def test_night_seed(seed, beginning, scheduler_for, monkeypatch):
    check(seed, beginning, scheduler_for, monkeypatch)


def test_a_seed_is_the_same_story_again(beginning, scheduler_for, monkeypatch):
    """Or a failure could not be run again."""
    stories = []
    for _time in range(2):
        with monkeypatch.context() as patch:
            model, _breaches = simulate(7, beginning, scheduler_for, patch)
        stories.append([line.partition(":")[0] for line in model.scheduler.trace])
        assert model.acknowledged
    assert stories[0] == stories[1]
