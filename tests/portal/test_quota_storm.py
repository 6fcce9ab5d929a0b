"""A19: 200 creates at once over 4 processes at limit 10 make exactly 10, on SQLite and on PostgreSQL."""

import ast
import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
STORM = Path(__file__).with_name("storm.py")
POSTGRES = os.environ.get("SLIPWAY_TEST_POSTGRES_URL", "")
LIMIT, PROCESSES, CREATES_EACH, THREADS = 10, 4, 50, 4
SECONDS = 100
PREPARE = f"""
import os, sys, tempfile
os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
call_command("migrate", verbosity=0)
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
from tests.portal.world import make_world
from accounts.models import QuotaLimit
world = make_world()
QuotaLimit.objects.filter(project=world.harbor).exclude(dimension="vms").update(limit=None)
QuotaLimit.objects.filter(project=world.harbor, dimension="vms").update(limit={LIMIT})
"""
COUNT = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
import django
django.setup()
from vms import quotas
from vms.models import Nic, Operation, VirtualMachine, Volume
from accounts.models import AuditEntry, Project
harbor = Project.objects.get(name="harbor")
print({
    "machines": VirtualMachine.objects.count(),
    "disks": Volume.objects.count(),
    "operations": Operation.objects.count(),
    "addresses": Nic.objects.values("address").distinct().count(),
    "audited": AuditEntry.objects.filter(action="vm.create").count(),
    "usage": quotas.usage(harbor)["vms"],
})
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request, tmp_path) -> Iterator[dict[str, str]]:
    """The environment of processes that share one new database."""
    if request.param == "sqlite":
        yield _environment(tmp_path, f"sqlite:///{tmp_path / 'storm.sqlite3'}")
        return
    if not POSTGRES:
        pytest.skip("needs PostgreSQL: ./dev test gives SLIPWAY_TEST_POSTGRES_URL")
    name = f"storm_{secrets.token_hex(4)}"
    with psycopg.connect(_url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name}")
        yield _environment(tmp_path, _url_of(name))
        connection.execute(f"drop database {name} with (force)")


def _url_of(database: str) -> str:
    """Return the address of this database on the test server; its socket's folder is in the query."""
    return urlsplit(POSTGRES)._replace(path=f"/{database}").geturl()


def _environment(tmp_path: Path, url: str) -> dict[str, str]:
    return os.environ | {
        "DATABASE_URL": url,
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": f"unix://{tmp_path / 'no-redis.sock'}",
        "SLIPWAY_VAR_DIR": str(tmp_path / "var"),
        "SLIPWAY_DATA_DIR": str(tmp_path / "data"),
        "SLIPWAY_LOG_LEVEL": "CRITICAL",
    }


def run(code: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.timeout(2 * SECONDS + 60)
def test_two_hundred_creates_at_once_over_four_processes_make_exactly_ten_a19(environment):
    run(PREPARE, environment)
    processes = [
        subprocess.Popen(
            [sys.executable, STORM, str(CREATES_EACH), str(THREADS), f"p{number}"],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(PROCESSES)
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n", process.stderr.read()[-3000:]
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert all(process.returncode == 0 for process in processes), [error[-2000:] for _out, error in said]
    outcomes = sum((Counter(ast.literal_eval(out)) for out, _error in said), Counter())
    assert outcomes == {"created": LIMIT, "refused vms": PROCESSES * CREATES_EACH - LIMIT}
    # nothing deletes machines here, so what is there at the end is the most that ever was
    counted = ast.literal_eval(run(COUNT, environment))
    assert counted == dict.fromkeys(counted, LIMIT)
