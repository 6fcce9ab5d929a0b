"""What all layers share: a mark by folder, no network where none belongs, and the guests' runner."""

from collections import Counter
from pathlib import Path

import pytest
import pytest_socket

from tests.guest_programs import compiled

HERE = Path(__file__).parent
LEFT_OUT: Counter[str] = Counter()
WITHOUT_NETWORK = {"unit", "portal", "simulation"}  # UNIX sockets stay: event loops and PostgreSQL need them


def layer_of(path: Path) -> str:
    """Return the layer that a test file belongs to: the name of its folder below tests/."""
    return path.relative_to(HERE).parts[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE not in item.path.parents:  # cli/tests mark their own
            continue
        layer = layer_of(item.path)
        if layer == "faults" and item.get_closest_marker("nightly"):
            continue  # `-m faults` is for an hour, not for a night
        item.add_marker(layer)


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in ("nightly", "faults"):
            if item.get_closest_marker(mark) is not None:
                LEFT_OUT[mark] += 1
                break


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.markexpr and LEFT_OUT:
        counts = ", ".join(f"{count} marked {mark}" for mark, count in sorted(LEFT_OUT.items()))
        terminalreporter.write_line(f"Left out by -m: {counts}.")


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if layer_of(item.path) in WITHOUT_NETWORK and item.get_closest_marker("enable_socket") is None:
        pytest_socket.disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    pytest_socket.enable_socket()


@pytest.fixture(scope="session")
def runner_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep SQLite in a file: there threads wait for one another as processes do, in memory they would fail.

    For all layers, because a run of several has the database of the one that asks for it first.
    """
    from django.conf import settings

    for database in settings.DATABASES.values():
        if database["ENGINE"].endswith("sqlite3"):
            database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
