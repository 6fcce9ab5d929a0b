"""`.env.example` says what `portal/env.py` declares, and nothing is declared that nobody reads."""

import re
from pathlib import Path

import pytest

from portal import env

ROOT = Path(__file__).resolve().parent.parent.parent
LINE = re.compile(r"^#?([A-Z_]+)=(.*)$", re.M)


def shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default == [] else str(default)


def test_every_variable_is_in_the_example_with_its_default() -> None:
    example = dict(LINE.findall((ROOT / ".env.example").read_text()))
    assert example == {variable.name: shown(variable.default) for variable in env.VARIABLES}


def test_the_example_sets_nothing_by_itself() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if line.strip() and not line.startswith("#")] == []


@pytest.mark.parametrize("name", [variable.name for variable in env.VARIABLES])
def test_every_variable_is_read(name: str) -> None:
    sources = "".join((ROOT / "portal" / file).read_text() for file in ("env.py", "settings.py", "logs.py"))
    assert re.search(rf"read\(\s*['\"]{name}['\"]", sources)


def test_a_variable_that_is_not_declared_cannot_be_read() -> None:
    with pytest.raises(KeyError, match="SLIPWAY_NOBODY_KNOWS"):
        env.read("SLIPWAY_NOBODY_KNOWS")


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("SLIPWAY_PORT", "9000", 9000),
        ("SLIPWAY_SIGNUP", "on", True),
        ("SLIPWAY_SIGNUP", " ", False),
        ("SLIPWAY_ALLOWED_HOSTS", "a.example,b.example", ["a.example", "b.example"]),
    ],
)
def test_values_come_in_their_declared_type(
    monkeypatch: pytest.MonkeyPatch, name: str, raw: str, value: object
) -> None:
    monkeypatch.setenv(name, raw)
    assert env.read(name) == value


def test_what_is_made_once_is_kept_and_private(tmp_path: Path) -> None:
    first = env.kept(tmp_path / "secret", lambda: "one")
    second = env.kept(tmp_path / "secret", lambda: "two")
    assert (first, second) == ("one", "one")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_unix_socket_of_redis_is_named_as_celery_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "unix:///run/redis.sock")
    assert env.celery_broker_url() == "redis+socket:///run/redis.sock"


def test_postgresql_on_a_unix_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    config = env.database("postgres://slipway@/slipway?host=/tmp/socket")
    assert config["ENGINE"] == "django.db.backends.postgresql"
    assert (config["NAME"], config["USER"]) == ("slipway", "slipway")
    assert config["OPTIONS"]["host"] == "/tmp/socket"
