"""`pipx install ./cli`, step by step: a fresh environment, what it needs from the index set up here, and bash."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.live import ROOT

pytestmark = pytest.mark.timeout(600)  # an index may be slow
PRESS_TAB = """
set -e
eval "$(_SLIPWAY_COMPLETE=source_bash slipway)"
complete -p slipway >&2
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_slipway_completion slipway
printf '%s\\n' "${COMPREPLY[@]}"
"""
Slipway = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package into an environment that has nothing of this one, as pipx does; return its folder."""
    folder = tmp_path_factory.mktemp("pipx")
    source = folder / "cli"
    shutil.copytree(ROOT / "cli", source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=120)
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    pip = [folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", source]
    done = subprocess.run(pip, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def environment(home: Path) -> dict[str, str]:
    """Only what a new user's shell has: nothing of ours leads to our own packages."""
    return {"HOME": str(home), "PATH": f"{home / 'venv' / 'bin'}:/usr/bin:/bin", "LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def slipway(environment: dict[str, str]) -> Slipway:
    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        line = [shutil.which("slipway", path=environment["PATH"]) or "slipway", *arguments]
        return subprocess.run(
            line, env=environment | more, capture_output=True, text=True, timeout=60, check=False, cwd="/"
        )

    return run


@pytest.fixture(scope="module")
def portal() -> Iterator[str]:
    """A portal that has two sandboxes, and knows one token."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] == "Bearer slw_known" and self.path.startswith("/api/v1/sandboxes")
            body = json.dumps({"items": [{"name": "box-1"}, {"name": "box-2"}, {"name": "lab"}], "next": None})
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_it_says_its_version_and_what_it_can(slipway):
    version = re.search(r'^version = "(.+)"', (ROOT / "cli" / "pyproject.toml").read_text(), re.MULTILINE)
    assert (slipway("--version").stdout, slipway("--version").returncode) == (f"{version[1]}\n", 0)
    usage = slipway("--help")
    assert usage.returncode == 0
    for word in ("login", "vm", "sandbox", "template", "run", "cp", "--install-completion"):
        assert re.search(rf"^ +{word}\b", usage.stdout, re.MULTILINE), usage.stdout
    for words in (("vm", "create"), ("sandbox", "new"), ("vm", "console"), ("run",), ("tunnel",)):
        assert slipway(*words, "--help").returncode == 0


def test_it_brings_what_it_needs_and_nothing_of_the_portal(slipway, environment):
    python = shutil.which("python", path=environment["PATH"])
    find = "import httpx, typer, websockets, importlib.util as u; print(u.find_spec('django'), httpx.__file__)"
    done = subprocess.run([python, "-c", find], env=environment, capture_output=True, text=True, timeout=60, check=True)
    django, path = done.stdout.split()
    assert django == "None"
    assert path.startswith(environment["HOME"])


def test_nobody_signed_in_is_told_how(slipway):
    done = slipway("vm", "ls")
    assert (done.returncode, done.stdout) == (3, "")
    assert "slipway login" in done.stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("sandbox", "re"), {"reset", "resume", "restore"}),
        (("sandbox", "reset", "bo"), {"box-1", "box-2"}),
        (("sandbox", "exec", "la"), {"lab"}),
    ],
)
def test_bash_completes_commands_and_names_of_the_portal(environment, portal, words, offered):
    signed_in = environment | {"SLIPWAY_URL": portal, "SLIPWAY_TOKEN": "slw_known"}
    line = ["bash", "-c", PRESS_TAB, "bash", "slipway", *words]
    done = subprocess.run(line, env=signed_in, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "_slipway_completion" in done.stderr
    assert set(done.stdout.split()) == offered


def test_bash_is_left_in_peace_where_no_portal_answers(environment):
    away = environment | {"SLIPWAY_URL": "http://127.0.0.1:9", "SLIPWAY_TOKEN": "slw_known"}
    line = ["bash", "-c", PRESS_TAB, "bash", "slipway", "sandbox", "reset", "bo"]
    done = subprocess.run(line, env=away, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "")
    assert "Traceback" not in done.stderr
