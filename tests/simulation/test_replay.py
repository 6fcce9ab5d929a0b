"""What a failing seed says is one command that runs that very seed, and nothing else."""

import os
import shlex
import subprocess
import sys

import pytest

from tests.live import ROOT
from tests.simulation import seeds as of_seeds
from tests.simulation.model import Model
from tests.simulation.seeds import FIRST_OF_THE_NIGHT, MACHINES, SANDBOXES, check


def printed(course, seed, beginning, scheduler_for, patch):
    """Let a seed fail and return the command at the end of its story."""
    patch.setattr(of_seeds, "simulate", lambda *_args: (Model.__new__(Model), ["I1: something is left"]))
    patch.setattr(Model, "scheduler", scheduler_for(seed), raising=False)
    with pytest.raises(pytest.fail.Exception) as failure:
        check(course, seed, beginning, scheduler_for, patch)
    return str(failure.value).splitlines()[-1].partition("run it again: ")[2]


@pytest.mark.parametrize("seed", [7, FIRST_OF_THE_NIGHT + 49])
@pytest.mark.parametrize("course", [MACHINES, SANDBOXES], ids=["machines", "sandboxes"])
def test_the_command_that_a_failure_prints_runs_that_seed_alone(course, seed, beginning, scheduler_for, monkeypatch):
    words = shlex.split(printed(course, seed, beginning, scheduler_for, monkeypatch))
    at = words.index("./dev")
    assert words[at + 1] == "test"
    asked = {name: value for name, _is, value in (word.partition("=") for word in words[:at])}
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *words[at + 2 :]],
        cwd=ROOT, env=os.environ | asked, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    assert [line for line in listed.stdout.splitlines() if "::" in line] == [f"{course.test}[{seed}]"]


def test_what_a_seed_is_chosen_by_gets_through_sudo():
    environment = {"PATH": os.environ["PATH"], "SIMULATION_FIRST": "7", "SIMULATION_SEEDS": "1", "HOME": "/root"}
    kept = subprocess.run(
        ["bash", "-c", f"source {ROOT}/scripts/dev/settings.sh; kept_for_root"],
        env=environment, capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert kept.stdout.strip().split(",") == ["SIMULATION_FIRST", "SIMULATION_SEEDS"]
