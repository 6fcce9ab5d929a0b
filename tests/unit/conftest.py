"""Unit tests: nothing but Python, and a program of the guests as a process of this host."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest_programs import RunnerProcess, runner


@pytest.fixture
def guest(runner_program: Path) -> Iterator[RunnerProcess]:
    with tempfile.TemporaryDirectory(prefix="sw-") as short, runner(runner_program, Path(short) / "run") as process:
        yield process
