"""A seed from its beginning to its end, the same way for every model; a failing one is told with its story."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.portal.world import World
from tests.simulation.machinery import Scheduler
from tests.simulation.model import Model
from tests.simulation.sandbox_model import SandboxModel

FIRST_OF_THE_NIGHT = 100_001
TOLD = 150  # the last lines of a story


@dataclass(frozen=True)
class Course:
    """What a run of one seed is made of."""

    model: type[Model]
    asked: int  # things that people ask for
    misfortunes: int  # at the most; two at the least
    span_seconds: float
    test: str  # the test whose parameter is the seed, as pytest names it


MACHINES = Course(Model, 30, 24, 60.0, "tests/simulation/test_seeds.py::test_seed")
SANDBOXES = Course(SandboxModel, 25, 16, 90.0, "tests/simulation/test_sandbox_seeds.py::test_sandboxes_of_a_seed")


def seeds(number: int, first: int = 1) -> range:
    """Return as many seeds, or those that the environment asks for."""
    first = int(os.environ.get("SIMULATION_FIRST", first))
    return range(first, first + int(os.environ.get("SIMULATION_SEEDS", number)))


def night_seeds(number: int) -> range:
    """Return as many others, or, where the environment asks for some, those."""
    return seeds(number, FIRST_OF_THE_NIGHT)


def again(course: Course, seed: int) -> str:
    """Return the command that runs this seed alone, of the day or of the night."""
    return f"SIMULATION_FIRST={seed} SIMULATION_SEEDS=1 ./dev test {course.test}"


def simulate(
    course: Course,
    seed: int,
    beginning: Callable[[], World],
    scheduler_for: Callable[[int], Scheduler],
    patch: pytest.MonkeyPatch,
) -> tuple[Model, list[str]]:
    """Run one seed to its end; return the model and what is not as promised."""
    scheduler = scheduler_for(seed)
    world = beginning()
    with scheduler.watching():
        model = course.model(world, scheduler, patch)
        for _number in range(course.asked):
            scheduler.later(scheduler.chance.uniform(0, course.span_seconds), model.person_asks)
        for _number in range(scheduler.chance.randint(2, course.misfortunes)):
            scheduler.later(scheduler.chance.uniform(1, course.span_seconds), model.misfortune)
        scheduler.run_until(lambda: False, course.span_seconds + 1)
        model.settle()
        for process in scheduler.processes:
            scheduler.kill(process)
    return model, model.breaches()


def check(
    course: Course,
    seed: int,
    beginning: Callable[[], World],
    scheduler_for: Callable[[int], Scheduler],
    patch: pytest.MonkeyPatch,
) -> Model:
    """Run one seed and fail, with its story and how to run it again, where something is not as promised."""
    model, breaches = simulate(course, seed, beginning, scheduler_for, patch)
    if breaches:
        story = "\n".join(model.scheduler.trace[-TOLD:])
        pytest.fail("\n".join([*breaches, "", story, "", f"run it again: {again(course, seed)}"]), pytrace=False)
    return model
