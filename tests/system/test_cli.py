"""The `slipway` command as people install it, against the running portal and guests that boot."""

import json
import os
import pty
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.live import ROOT, Api, Live, wait_for

pytestmark = pytest.mark.timeout(600)  # fixtures boot a guest and wait until the template is prepared
LEAVE = b"\x1d"
Slipway = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, str]]:
    """Install the package from a copy of its sources; return the command and the environment that finds it."""
    folder = tmp_path_factory.mktemp("cli")
    shutil.copytree(
        ROOT / "cli", folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--prefix", folder / "at", folder / "source"], check=True, timeout=120)
    (packages,) = (folder / "at").glob("lib/python3*/site-packages")
    return [str(folder / "at" / "bin" / "slipway")], {"PYTHONPATH": str(packages), "PATH": os.environ["PATH"]}


@pytest.fixture(scope="module")
def signed_in(live: Live, program, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, str]]:
    """Sign in as alice, with an SSH key, in a home of its own."""
    command, environment = program
    home = tmp_path_factory.mktemp("home")
    environment = {**environment, "HOME": str(home), "TERM": "xterm"}
    (home / ".ssh").mkdir(mode=0o700)
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / ".ssh" / "id_ed25519")]
    subprocess.run(keygen, check=True, timeout=30)
    token = live.manage("issue_token", "alice").stdout.strip()
    login = [*command, "login", "--url", live.url]
    done = subprocess.run(login, input=token, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "as alice" in done.stderr
    assert (home / ".config" / "slipway" / "login.json").stat().st_mode & 0o777 == 0o600
    return command, environment


@pytest.fixture(scope="module")
def slipway(signed_in) -> Slipway:
    command, environment = signed_in

    def run(*arguments: str, seconds: float = 240, code: int | None = 0, **more) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*command, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            **more,
        )
        assert code is None or done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def machine(slipway: Slipway, alice: Api) -> Iterator[str]:
    name = f"cli-{secrets.token_hex(3)}"
    made = slipway("vm", "create", name, "--image", "micro", "--flavor", "nano", "-p", "harbor")
    assert made.stdout.startswith(f"{name} is running at ")
    assert f"{name}: create: done" in made.stderr
    yield name
    slipway("vm", "rm", name, "-p", "harbor", "--yes", code=None)
    left = alice.call("GET", f"vms?search={name}")["items"]
    assert left == []


@pytest.fixture(scope="module")
def template(alice: Api) -> str:
    """Return a template that clones can be made of, once the portal has prepared it."""

    def ready() -> str:
        for found in alice.call("GET", "templates")["items"]:
            if found["image"]["name"] == "micro" and any(build["fits"] for build in found["builds"]):
                return str(found["name"])
        return ""

    return str(wait_for(ready, 300, "no template of micro is prepared"))


# --- machines ---------------------------------------------------------------------------------------------------
def test_lists_and_facts_are_tables_and_json(slipway, machine):
    assert re.search(rf"^{machine} +running ", slipway("vm", "ls").stdout, re.MULTILINE)
    shown = json.loads(slipway("vm", "show", machine, "--json").stdout)
    assert (shown["name"], shown["project"]["name"]) == (machine, "harbor")
    assert "alice" in slipway("whoami").stdout
    assert re.search(r"^harbor +vms +[1-9]", slipway("quota", "harbor").stdout, re.MULTILINE)


def test_ssh_goes_through_the_gateway(slipway, signed_in, machine):
    key = ["-i", f"{signed_in[1]['HOME']}/.ssh/id_ed25519"]  # ssh itself looks below the home of /etc/passwd
    assert slipway("vm", "ssh", machine, *key, "--", "hostname").stdout == f"{machine}\n"
    assert slipway("vm", "ssh", machine, *key, "--", "exit 7", code=7).stdout == ""
    echoed = slipway("vm", "ssh", machine, *key, "--", "cat", input="x" * 200_000)
    assert echoed.stdout == "x" * 200_000


def test_the_serial_console_in_a_terminal(signed_in, machine):
    command, environment = signed_in
    master, slave = pty.openpty()
    console = subprocess.Popen(
        [*command, "vm", "console", machine], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    try:
        seen = read_until(master, b"Leave with Ctrl-]", 30)
        os.write(master, b"\r")
        seen = read_until(master, b"login: ", 60, seen)
        os.write(master, b"nobody-of-that-name\r")
        read_until(master, b"assword: ", 60)
        os.write(master, LEAVE)
        read_until(master, b"It goes on.", 30)
        assert console.wait(30) == 0
    finally:
        console.kill()
        console.wait()
        os.close(master)


def read_until(master: int, wanted: bytes, seconds: float, seen: bytes = b"") -> bytes:
    until = time.monotonic() + seconds
    while wanted not in seen:
        left = until - time.monotonic()
        assert left > 0, f"no {wanted!r} in {seen[-500:]!r}"
        if select.select([master], [], [], left)[0]:
            seen += os.read(master, 65536)
    return seen[seen.index(wanted) + len(wanted) :]


def test_what_is_wrong_is_a_sentence_and_an_exit_code(slipway, machine, signed_in, live):
    assert "is on already" in slipway("vm", "start", machine, code=1).stderr
    assert "no machine named" in slipway("vm", "show", f"{machine}x", code=4).stderr
    assert f"Did you mean {machine}?" in slipway("vm", "show", f"{machine}x", code=4).stderr
    assert "needs a terminal" in slipway("vm", "console", machine, code=2).stderr
    taken = slipway("vm", "create", machine, "-i", "micro", "-f", "nano", "-p", "harbor", code=1)
    assert "name: " in taken.stderr
    command, environment = signed_in
    for more, code in (
        ({"SLIPWAY_TOKEN": "slw_nobody"}, 3),
        ({"SLIPWAY_URL": "http://127.0.0.1:9", "SLIPWAY_TOKEN": "x"}, 5),
    ):
        done = subprocess.run(
            [*command, "vm", "ls"], env={**environment, **more}, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stderr


# --- sandboxes --------------------------------------------------------------------------------------------------
def sandboxes_of(alice: Api) -> set[str]:
    return {found["name"] for found in alice.call("GET", "sandboxes?limit=100")["items"]}


def test_run_streams_ends_with_the_code_of_the_command_and_leaves_nothing(slipway, alice, template):
    before = sandboxes_of(alice)
    done = slipway("run", template, "--", "sh", "-c", "hostname; echo oops >&2; exit 7", code=7)
    assert re.fullmatch(r"run-[0-9a-f]{6}\n", done.stdout)
    assert "oops" in done.stderr
    wait_for(lambda: sandboxes_of(alice) <= before, 60, "the sandbox is still there")


def test_files_go_in_with_run(slipway, template, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "greeting").write_text("ahoy")
    done = slipway("run", template, "-f", f"{tmp_path}/in:/tmp/in", "--json", "--", "cat", "/tmp/in/greeting")
    answer = json.loads(done.stdout)
    assert (answer["stdout"], answer["run"]["exit_code"]) == ("ahoy", 0)


def test_a_time_limit(slipway, template):
    assert "time limit is 2 s" in slipway("run", template, "-t", "2s", "--", "sleep", "600", code=124).stderr


def test_ctrl_c_ends_the_command_and_removes_the_sandbox(signed_in, alice, template):
    command, environment = signed_in
    before = sandboxes_of(alice)
    line = [*command, "run", template, "--", "sh", "-c", "echo begun; sleep 600"]
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        try:
            assert select.select([running.stdout], [], [], 60)[0], "it is streamed while it runs"
            assert running.stdout.readline() == b"begun\n"
            assert len(sandboxes_of(alice) - before) == 1
            running.send_signal(signal.SIGINT)
            assert running.wait(60) == 130
        finally:
            running.kill()
    wait_for(lambda: sandboxes_of(alice) <= before, 60, "the sandbox is still there")


@pytest.fixture
def box(slipway: Slipway, template: str) -> Iterator[str]:
    name = f"box-{secrets.token_hex(3)}"
    slipway("sandbox", "new", template, "--name", name, "--lease", "30m")
    yield name
    slipway("sandbox", "rm", name, "-y", code=None)


def test_files_and_folders_there_and_back(slipway, box, tmp_path):
    content = secrets.token_bytes(300_000)
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "data").write_bytes(content)
    slipway("cp", f"{tmp_path}/out", f"{box}:/tmp/there")
    slipway("cp", f"{box}:/tmp/there", f"{tmp_path}/back")
    assert (tmp_path / "back" / "deep" / "data").read_bytes() == content
    slipway("cp", f"{box}:/tmp/there/deep/data", f"{tmp_path}/data")
    assert (tmp_path / "data").read_bytes() == content
    slipway("cp", f"{box}:/tmp/nowhere", f"{tmp_path}/x", code=4)


def test_the_life_of_a_sandbox(slipway, box, alice):
    slipway("sandbox", "exec", box, "--", "touch", "/tmp/mark")
    slipway("sandbox", "reset", box)
    assert slipway("sandbox", "exec", box, "--", "ls", "/tmp/mark", code=None).returncode not in {0, 125}
    assert re.search(rf"{box} has (8|9)\d min left", slipway("sandbox", "extend", box, "1h").stdout)
    assert "is paused" in slipway("sandbox", "pause", box).stdout
    assert "goes on" in slipway("sandbox", "resume", box).stdout
    assert slipway("sandbox", "exec", box, "--", "hostname").stdout == f"{box}\n"
    assert "is a machine now" in slipway("sandbox", "keep", box).stdout
    assert box not in sandboxes_of(alice)
    assert slipway("vm", "rm", box, "-y").stdout == f"{box} is gone.\n"


def test_ssh_into_a_sandbox_puts_the_key_in_by_itself(slipway, signed_in, box):
    key = ["-i", f"{signed_in[1]['HOME']}/.ssh/id_ed25519"]
    done = slipway("sandbox", "ssh", box, *key, "--", "hostname")
    assert (done.stdout, done.stderr) == (f"{box}\n", "")
    assert slipway("sandbox", "ssh", box, *key, "--no-ssh-key", "--", "exit 7", code=7).stdout == ""
