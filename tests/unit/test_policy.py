"""What an admin decides about sandboxes comes from the environment, and is refused where it is impossible."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from portal import checks

ROOT = Path(__file__).resolve().parent.parent.parent
SHOW = (
    "from portal import settings as s;"
    "print(s.SANDBOX_LEASE_MINUTES[1], s.SANDBOX_GRACE, *s.SANDBOX_WARN_BEFORE, s.SANDBOX_POOL_MEMORY_FREE,"
    "s.READY_SCRIPT_WAIT, s.FILES_AT_MOST_BYTES, sep='|')"
)
OTHERS = {
    "SLIPWAY_LEASE_MAX_MINUTES": "120",
    "SLIPWAY_LEASE_GRACE_HOURS": "2",
    "SLIPWAY_LEASE_WARN_MIN_MINUTES": "3",
    "SLIPWAY_LEASE_WARN_MAX_MINUTES": "30",
    "SLIPWAY_POOL_MEMORY_FREE_PERCENT": "25",
    "SLIPWAY_READY_SCRIPT_MINUTES": "1",
    "SLIPWAY_FILES_MAX_MIB": "8",
}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, "10080|1 day, 0:00:00|0:15:00|1 day, 0:00:00|0.15|0:10:00|67108864"),
        (OTHERS, "120|2:00:00|0:03:00|0:30:00|0.25|0:01:00|8388608"),
    ],
)
def test_policy_comes_from_the_environment(tmp_path: Path, given: dict[str, str], shown: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in OTHERS}
    environment = {**kept, "SLIPWAY_VAR_DIR": str(tmp_path), **given}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == shown


def test_what_stands_there_by_itself_is_possible() -> None:
    assert checks.policy(None) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SANDBOX_LEASE_MINUTES", (1, 0)),
        ("SANDBOX_GRACE", timedelta(hours=-1)),
        ("SANDBOX_WARN_BEFORE", (timedelta(hours=2), timedelta(hours=1))),
        ("SANDBOX_POOL_MEMORY_FREE", 1.5),
        ("READY_SCRIPT_WAIT", timedelta(0)),
        ("FILES_AT_MOST_BYTES", 0),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(settings, name: str, value: object) -> None:
    setattr(settings, name, value)
    [error] = checks.policy(None)
    assert error.id == "slipway.E003"
    assert error.hint
