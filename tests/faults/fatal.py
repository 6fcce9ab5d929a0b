"""Workers that end by SIGKILL, their own, at the place that was chosen for an operation, at its first attempt.

A plan is a file in a folder, `<operation>.plan` with the place in it. Whoever comes to that place renames the file
to `.killed`, with the time in it, and dies with its process group: the next attempt finds no plan, and lives. When
that one has the claim, it notes the time in `.taken`. Times are those of this machine's clock.
"""

import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.portal.test_faults_fake import Place, fatal
from vms.operations import runner


def plan(folder: Path, operation: str, place: list[str]) -> None:
    """Choose where the first worker of an operation dies: [kind, step, point]."""
    (folder / f"{operation}.plan").write_text(json.dumps(place))


def moments(folder: Path, what: str) -> dict[str, float]:
    """{operation: when}: of the "killed", or of the "taken"."""
    return {file.stem: float(file.read_text()) for file in folder.glob(f"*.{what}")}


def arm(folder: Path) -> None:
    """Let this process heed the plans in a folder. Its worker has one thread: who dies takes nothing else along."""
    really, attempt = runner.run, runner._attempt

    def run(operation_id: UUID, hypervisor: Any) -> bool:
        file = folder / f"{operation_id}.plan"
        if not file.exists():
            return really(operation_id, hypervisor)
        with pytest.MonkeyPatch.context() as patch:
            fatal(patch, Place(*json.loads(file.read_text())), partial(_die, file))
            return really(operation_id, hypervisor)

    def noted(lease: Any, hypervisor: Any) -> None:
        if (folder / f"{lease.operation_id}.killed").exists():
            _note(folder / f"{lease.operation_id}.taken")
        attempt(lease, hypervisor)

    runner.run, runner._attempt = run, noted


def _die(file: Path) -> None:
    _note(file.with_suffix(".killed"))
    file.unlink()
    os.killpg(0, signal.SIGKILL)


def _note(file: Path) -> None:
    """Write the time; whoever reads meanwhile sees nothing or all of it."""
    new = file.with_suffix(".new")
    new.write_text(str(time.time()))
    new.rename(file)
