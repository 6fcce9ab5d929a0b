"""Seeded random faults: whatever dies, whenever it dies, everything acknowledged ends and the portal tells the truth.

A failing seed is run again, alone and with its story, by the command that the failure prints.
"""

import pytest

from tests.simulation.seeds import MACHINES, check, night_seeds, seeds, simulate


@pytest.mark.parametrize("seed", seeds(160))
def test_seed(seed, beginning, scheduler_for, monkeypatch):
    check(MACHINES, seed, beginning, scheduler_for, monkeypatch)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", night_seeds(3000))
def test_night_seed(seed, beginning, scheduler_for, monkeypatch):
    check(MACHINES, seed, beginning, scheduler_for, monkeypatch)


def test_a_seed_is_the_same_story_again(beginning, scheduler_for, monkeypatch):
    """Or a failure could not be run again."""
    stories = []
    for _time in range(2):
        with monkeypatch.context() as patch:
            model, _breaches = simulate(MACHINES, 7, beginning, scheduler_for, patch)
        stories.append([line.partition(":")[0] for line in model.scheduler.trace])
        assert model.acknowledged
    assert stories[0] == stories[1]
