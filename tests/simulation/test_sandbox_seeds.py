"""Seeded random faults around sandboxes: whoever dies, pools refill, nothing is left, nothing is handed out twice."""

import pytest

from tests.simulation.seeds import SANDBOXES, check, night_seeds, seeds
from vms.models import Operation


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", seeds(8))
def test_sandboxes_of_a_seed(seed, beginning, scheduler_for, monkeypatch):
    assert check(SANDBOXES, seed, beginning, scheduler_for, monkeypatch).acknowledged


@pytest.mark.nightly
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", night_seeds(600))
def test_sandboxes_of_a_night_seed(seed, beginning, scheduler_for, monkeypatch):
    assert check(SANDBOXES, seed, beginning, scheduler_for, monkeypatch).acknowledged


def test_the_seeds_do_what_sandboxes_do(beginning, scheduler_for, monkeypatch):
    """Or nothing would be shown."""
    kinds = set()
    for seed in (1, 2, 3, 4):
        with monkeypatch.context() as patch:
            assert check(SANDBOXES, seed, beginning, scheduler_for, patch).acknowledged
        kinds |= set(Operation.objects.filter(status="succeeded").values_list("kind", flat=True))
    assert {"prepare", "spare", "claim", "clone", "reset", "suspend", "delete"} <= kinds
