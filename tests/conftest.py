"""What all layers share: a mark by folder, no network where none belongs, and the guests' runner."""

from pathlib import Path

import pytest
import pytest_socket

from tests.guest_programs import compiled

HERE = Path(__file__).parent
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


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if layer_of(item.path) in WITHOUT_NETWORK and item.get_closest_marker("enable_socket") is None:
        pytest_socket.disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    pytest_socket.enable_socket()


@pytest.fixture(scope="session")
def runner_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.getbasetemp())
