"""`slipway` run in this process, against a portal made of answers, in a home of its own."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_socket
from cli_world import TOKEN, URL, Answer, Portal
from slipway_cli import client, main


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("unit")


def pytest_runtest_setup(item: pytest.Item) -> None:
    pytest_socket.disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    pytest_socket.enable_socket()


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Portal:
    made = Portal()
    monkeypatch.setattr(client, "make_transport", lambda: httpx.MockTransport(made.handle))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    return made


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be signed in by the environment, in a home of its own."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLIPWAY_URL", URL)
    monkeypatch.setenv("SLIPWAY_TOKEN", TOKEN)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


@pytest.fixture
def slipway(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    def run(*arguments: str) -> Answer:
        monkeypatch.setattr("sys.argv", ["slipway", *arguments])
        capsys.readouterr()
        try:
            main.main()
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
        out, err = capsys.readouterr()
        return Answer(int(code), out, re.sub(r"\(\d+\.\d s\)", "(0.0 s)", err))

    return run
