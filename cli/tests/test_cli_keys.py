"""How a sandbox comes to let its person in."""

import os
import pwd
import re
import subprocess
from pathlib import Path

import httpx
import pytest
from cli_world import END, RUN, events, output, problem, vm
from slipway_cli import keys, tunnel


@pytest.fixture
def box(portal, monkeypatch, home):
    """A sandbox whose image's user is dockhand, a person with a key, and an ssh that is only looked at."""
    found = vm("box")
    portal.items("sandboxes", found)
    portal.items("images", {"id": "i-1", "name": "micro", "default_user": "dockhand"})
    portal.on("GET", f"vms/{found['id']}", found)
    portal.on("POST", f"sandboxes/{found['id']}/runs", httpx.Response(201, json={"id": "r-1"}))
    portal.on("GET", "runs/r-1/events", events(END))
    portal.on("GET", "runs/r-1", RUN)
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519.pub").write_text("ssh-ed25519 AAAA alice\n")
    lines = []
    monkeypatch.setattr(os, "execv", lambda _program, line: lines.append(line))
    monkeypatch.setattr(tunnel.shutil, "which", lambda _name: "/usr/bin/ssh")
    return found, lines


def test_ssh_to_a_sandbox_puts_the_persons_key_in_first(portal, slipway, box):
    found, lines = box
    answer = slipway("sandbox", "ssh", "box")
    (body,) = portal.bodies("POST", f"sandboxes/{found['id']}/runs")
    assert (body["stdin"], body["argv"][-1]) == ("ssh-ed25519 AAAA alice\n", "dockhand")
    assert [line[-3:] for line in lines] == [["-l", "dockhand", "box"]]
    assert answer.err == ""


def test_ssh_to_a_sandbox_that_takes_no_key_says_so_and_goes_on(portal, slipway, box):
    portal.on("GET", "runs/r-1/events", events(output(b"it has no user dockhand\n", stream="stderr"), END))
    portal.on("GET", "runs/r-1", {**RUN, "exit_code": 1})
    assert (
        "Your key could not be put in (it has no user dockhand). Trying without."
        in slipway("sandbox", "ssh", "box").err
    )
    portal.on("POST", f"sandboxes/{box[0]['id']}/runs", problem(409, "bad_state", "The sandbox is paused."))
    assert "(The sandbox is paused.)" in slipway("sandbox", "ssh", "box").err
    assert len(box[1]) == 2


def test_ssh_to_a_sandbox_without_a_key_of_ones_own(portal, slipway, box, home):
    slipway("sandbox", "ssh", "box", "--no-ssh-key")
    assert "no.pub, so no key was put in" in slipway("sandbox", "ssh", "box", "-i", "no").err
    (home / ".ssh" / "id_ed25519.pub").unlink()
    assert "ssh-keygen" in slipway("sandbox", "ssh", "box").err
    assert portal.bodies("POST", f"sandboxes/{box[0]['id']}/runs") == []
    assert len(box[1]) == 3


def test_a_key_is_let_in_once_however_often_it_comes(tmp_path):
    """The guest's part, by a shell: a user that is there, twice, and one that is not."""
    me = pwd.getpwuid(os.getuid()).pw_name
    lines = "".join(f"{line}\n" for line in Path("/etc/passwd").read_text().splitlines())
    passwd = tmp_path / "passwd"
    passwd.write_text(re.sub(rf"^({me}:(?:[^:]*:){{4}})[^:]*", rf"\g<1>{tmp_path}", lines, flags=re.MULTILINE))
    script = keys.ADMIT.replace("/etc/passwd", str(passwd))

    def admit(user, text):
        command = ["/bin/sh", "-c", script, "sh", user]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=10, check=False)

    assert admit(me, "ssh-ed25519 AAAA alice\n").returncode == 0
    assert admit(me, "ssh-ed25519 AAAA alice\nssh-rsa BBBB alice\n").returncode == 0
    kept = tmp_path / ".ssh" / "authorized_keys"
    assert kept.read_text() == "ssh-ed25519 AAAA alice\nssh-rsa BBBB alice\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    refused = admit("nobody-of-that-name", "ssh-ed25519 AAAA alice\n")
    assert (refused.returncode, refused.stderr) == (1, "it has no user nobody-of-that-name\n")
