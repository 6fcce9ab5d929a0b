"""Every command that is no line to a guest takes --json, and what it then prints on stdout is JSON and nothing else."""

import io

import httpx
import pytest
import typer
from cli_world import operation, vm
from slipway_cli.main import app

LINES = {"console", "ssh", "tunnel"}  # bytes go back and forth: there is nothing to put into JSON
ME = {
    "user": {"id": "u", "username": "alice", "email": "", "is_staff": False},
    "projects": [{"id": "p-1", "name": "harbor", "role": "owner", "personal": False, "limits": {}, "usage": {}}],
}


def commands(group=None, words=()):
    """Yield the words of every command, and the command: (("vm", "ls"), ...)."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


ALL = sorted(commands(), key=lambda found: found[0])


def test_the_walk_finds_commands_at_every_depth():
    found = {words for words, _command in ALL}
    assert {("cp",), ("login",), ("vm", "ls"), ("sandbox", "exec"), ("op", "wait")} <= found
    assert len(found) > 30


@pytest.mark.parametrize(
    "command",
    [pytest.param(command, id=" ".join(words)) for words, command in ALL if words[-1] not in LINES],
)
def test_every_command_takes_json(command):
    [flag] = [parameter for parameter in command.params if "--json" in parameter.opts]
    assert (flag.is_flag, flag.default) == (True, False)


@pytest.mark.parametrize("words", [words for words, _command in ALL if words[-1] in LINES], ids=" ".join)
def test_lines_to_guests_are_no_answers(words, slipway):
    answer = slipway(*words, "name", "--json")
    assert answer.code == 2
    assert "No such option: --json" in answer.err


@pytest.fixture
def harbor(portal):
    box = vm("box")
    portal.on("GET", "me", ME)
    portal.items("vms", vm())
    portal.items("sandboxes", box)
    portal.items("templates")
    portal.items("images")
    portal.items("flavors")
    portal.on("GET", f"vms/{vm()['id']}", vm())
    portal.on("PUT", f"sandboxes/{box['id']}/files", {"bytes": 5})
    portal.on("GET", f"sandboxes/{box['id']}/files", lambda _request: hello())
    portal.on("POST", f"vms/{vm()['id']}/stop", {"vm": vm(), "operation": operation("stop", "succeeded")})
    portal.on("GET", f"operations/{operation('stop')['id']}", operation("stop", "succeeded"))
    return portal


def hello():
    return httpx.Response(200, content=b"hello", headers={"x-slipway-kind": "file"})


@pytest.mark.parametrize(
    "line",
    ["whoami", "quota", "vm ls", "vm show web-1", "vm stop web-1", "vm stop web-1 --no-wait", "sandbox ls",
     "template ls", "image ls", "flavor ls", "cp {home}/a box:/tmp/", "cp box:/tmp/a {home}/b", "logout"],
)  # fmt: skip
def test_what_is_printed_is_json_and_nothing_else(harbor, slipway, home, line):
    (home / "a").write_text("hello")
    answer = slipway(*line.format(home=home).split(), "--json")
    assert answer.code == 0, answer.err
    assert isinstance(answer.json, dict | list)


def test_what_a_copy_says(harbor, slipway, home):
    (home / "a").write_text("hello")
    box = {"id": vm("box")["id"], "name": "box"}
    put = slipway("cp", str(home / "a"), "box:/tmp/", "--json")
    assert (put.json, put.err) == ({"sandbox": box, "path": "/tmp/a", "bytes": 5}, "")
    got = slipway("cp", "box:/tmp/a", str(home / "b"), "--json")
    assert (got.json, got.err) == ({"sandbox": box, "path": "/tmp/a", "written_to": str(home / "b")}, "")
    assert (home / "b").read_text() == "hello"


def test_what_login_and_logout_say(harbor, slipway, home, monkeypatch):
    monkeypatch.delenv("SLIPWAY_TOKEN")
    monkeypatch.setattr("sys.stdin", io.StringIO("slw_secret\n"))
    kept = home / ".config" / "slipway" / "login.json"
    answer = slipway("login", "--json")
    assert answer.json == {"url": "https://portal.example", "user": ME["user"], "kept_in": str(kept)}
    assert "slw_secret" not in answer.out + answer.err
    assert slipway("logout", "--json").json == {"signed_out": True}
    assert slipway("logout", "--json").json == {"signed_out": False}
