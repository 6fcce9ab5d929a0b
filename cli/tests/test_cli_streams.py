"""Consoles and tunnels against a gateway on a UNIX socket, and a person at a pseudo-terminal."""

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from cli_world import problem, vm
from slipway_cli import console, gateway, tunnel
from slipway_cli.terminal import ALTERNATE_OFF, ALTERNATE_ON, Screen
from websockets.sync.client import unix_connect
from websockets.sync.server import unix_serve

LEAVE = b"\x1d"


class Gateway:
    """A gateway whose connections are served by the functions in `scripts`, one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scripts = []
        self.requests = []
        self._server = unix_serve(self._serve, str(path), subprotocols=["slipway.v1"])
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _serve(self, socket) -> None:
        self.requests.append(socket.request)
        self.scripts.pop(0)(socket)

    def end(self) -> None:
        self._server.shutdown()
        self._thread.join()


class Person:
    """Sits at a pseudo-terminal: waits for a text, then types."""

    def __init__(self, *lines: tuple[bytes, bytes]) -> None:
        self.master, self.slave = pty.openpty()
        self.seen = b""
        self._lines = lines
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._act)

    def _act(self) -> None:
        for wanted, keys in self._lines:
            if not self._saw(wanted):
                return
            os.write(self.master, keys)

    def _saw(self, wanted: bytes) -> bool:
        while wanted not in self.seen and not self._over.is_set():
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 4096)
        return wanted in self.seen

    def __enter__(self) -> "Person":
        self._thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        self._over.set()
        self._thread.join()
        self.left = termios.tcgetattr(self.slave)
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 4096)
        os.close(self.master)
        os.close(self.slave)


class Stream:
    """What sys.stdin or sys.stdout is to the console: a descriptor."""

    def __init__(self, descriptor: int, *, terminal: bool = True) -> None:
        self.fileno = lambda: descriptor
        self.isatty = lambda: terminal


@pytest.fixture
def door(tmp_path, monkeypatch, portal):
    """Return a gateway, a machine, and the portal that gives tickets for it."""
    made = Gateway(tmp_path / "gateway.sock")
    monkeypatch.setattr(gateway, "connect", lambda url, **more: unix_connect(str(made.path), url, **more))
    machine = vm()
    portal.items("vms", machine)
    numbers = iter(range(100))
    portal.on("POST", f"vms/{machine['id']}/console", lambda _request: ticket(next(numbers)))
    yield made
    made.end()


def ticket(number: int):
    words = ["slipway.v1", f"ticket.t{number}"]
    return {
        "url": "ws://gateway.example/console/serial/x",
        "ticket": f"t{number}",
        "protocols": words,
        "expires_at": "",
    }


@pytest.fixture
def at_terminal(slipway, monkeypatch):
    """Run a command line with a person at the terminal."""

    def run(person: Person, *arguments: str):
        monkeypatch.setattr("sys.stdin", Stream(person.slave))
        monkeypatch.setattr(sys.stdout, "fileno", lambda: person.slave, raising=False)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        with person:
            return slipway(*arguments)

    return run


def says(text: bytes, code: int = 1000):
    """Return a script: say something, then close."""

    def serve(socket) -> None:
        socket.send(text)
        socket.close(code)

    return serve


def echoes(socket) -> None:
    socket.send(b"login: ")
    with contextlib.suppress(Exception):
        for message in socket:
            socket.send(b"<" + message + b">")


def test_keys_go_in_and_bytes_come_out_until_the_person_leaves(door, at_terminal, portal):
    door.scripts = [echoes]
    person = Person((b"login: ", b"\x03"), (b"<\x03>", b"last" + LEAVE + b"never"))
    answer = at_terminal(person, "vm", "console", "web-1")
    assert answer.code == 0
    assert "Leave with Ctrl-]" in answer.err
    assert "Left web-1. It goes on." in answer.err
    assert b"never" not in person.seen


def test_the_terminal_is_as_it_was_before(door, at_terminal):
    door.scripts = [says(b"bye", 4404)]
    person = Person()
    before = termios.tcgetattr(person.slave)
    assert at_terminal(person, "vm", "console", "web-1").code == 4
    assert person.left == before


def test_a_program_brings_its_ticket_and_no_origin(door, at_terminal):
    door.scripts = [echoes]
    at_terminal(Person((b"login: ", LEAVE)), "vm", "console", "web-1")
    (request,) = door.requests
    assert request.headers["Sec-WebSocket-Protocol"] == "slipway.v1, ticket.t0"
    assert "Origin" not in request.headers


def test_a_dropped_console_comes_back_with_a_new_ticket(door, at_terminal, monkeypatch):
    monkeypatch.setattr(console, "BACK_PAUSE", 0.01)
    door.scripts = [says(b"one", 1012), says(b"", 1013), echoes]
    answer = at_terminal(person := Person((b"login: ", LEAVE)), "vm", "console", "web-1")
    assert answer.code == 0
    assert person.seen.count(b"The connection was lost") == 1
    offered = [request.headers["Sec-WebSocket-Protocol"] for request in door.requests]
    assert offered == [f"slipway.v1, ticket.t{number}" for number in range(3)]


def test_a_console_that_cannot_come_back_says_so(door, at_terminal, portal, monkeypatch):
    monkeypatch.setattr(console, "BACK_PAUSE", 0.01)
    machine = vm()
    refused = problem(403, "forbidden", "You may not open it.")
    portal.on("POST", f"vms/{machine['id']}/console", [ticket(0), refused])
    door.scripts = [says(b"one", 1012)]
    answer = at_terminal(Person(), "vm", "console", "web-1")
    assert answer.code == 1
    assert "You may not open it." in answer.err


@pytest.mark.parametrize(
    ("close", "code", "said"),
    [
        (4403, 1, "Your access to web-1 was taken away."),
        (4404, 4, "web-1 is gone."),
        (4409, 0, "web-1 was switched off."),
        (4429, 1, "Too many consoles are open."),
    ],
)
def test_endings_are_sentences(door, at_terminal, close, code, said):
    door.scripts = [says(b"x", close)]
    answer = at_terminal(Person(), "vm", "console", "web-1")
    assert (answer.code, said in answer.err) == (code, True)


def test_without_a_terminal_there_is_no_console(door, slipway):
    answer = slipway("vm", "console", "web-1")
    assert answer.code == 2
    assert door.requests == []


def test_a_machine_that_is_off_is_the_portals_sentence(portal, at_terminal):
    machine = vm()
    portal.items("vms", machine)
    portal.on("POST", f"vms/{machine['id']}/console", problem(409, "invalid_state", "It is off. Start it first."))
    answer = at_terminal(Person(), "vm", "console", "web-1")
    assert answer.code == 1
    assert "Start it first." in answer.err


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_a_full_screen_program_is_left_behind(chunk):
    there, here = os.pipe()
    screen = Screen(here)
    drawn = b"$ vi\r\n" + ALTERNATE_ON + b"text"
    for begin in range(0, len(drawn), chunk):
        screen.write(drawn[begin : begin + chunk])
    screen.calm()
    os.close(here)
    assert os.read(there, 4096).startswith(drawn + ALTERNATE_OFF)
    os.close(there)


# --- the tunnel -------------------------------------------------------------------------------------------------
def test_a_tunnel_carries_every_byte(door, slipway, portal, monkeypatch):
    sent = os.urandom(300_000)
    got = bytearray()

    def serve(socket) -> None:
        while len(got) < len(sent):
            got.extend(socket.recv())
        socket.send(bytes(got[::-1]))
        socket.close()

    door.scripts = [serve]
    machine = vm()
    stdin, feed = os.pipe()
    drain, stdout = os.pipe()
    out = bytearray()
    feeder = threading.Thread(target=lambda: _write_all(feed, sent))
    drainer = threading.Thread(target=lambda: _read_all(drain, out))
    feeder.start()
    drainer.start()
    monkeypatch.setattr("sys.stdin", Stream(stdin, terminal=False))
    monkeypatch.setattr(sys.stdout, "fileno", lambda: stdout, raising=False)
    answer = slipway("tunnel", machine["id"])
    os.close(stdout)
    for thread in (feeder, drainer):
        thread.join()
    for descriptor in (stdin, feed, drain):
        os.close(descriptor)
    assert answer.code == 0
    assert bytes(got) == sent
    assert bytes(out) == sent[::-1]
    assert portal.bodies("POST", f"vms/{machine['id']}/console") == [{"kind": "ssh"}]


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _read_all(descriptor: int, into: bytearray) -> None:
    while data := os.read(descriptor, 65536):
        into.extend(data)


def test_a_tunnel_to_nowhere_ends_as_ssh_does(door, slipway, monkeypatch):
    door.scripts = [says(b"", 4504)]
    stdin, feed = os.pipe()
    monkeypatch.setattr("sys.stdin", Stream(stdin, terminal=False))
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1, raising=False)
    answer = slipway("tunnel", "web-1")
    os.close(feed)
    assert answer.code == 255
    assert "Nothing answers on port 22 of web-1." in answer.err


def test_ssh_goes_through_the_tunnel_with_host_keys_of_our_own(portal, slipway, monkeypatch, home):
    machine = vm()
    portal.items("vms", machine)
    portal.items("images", {"id": "i-1", "name": "micro", "default_user": "dockhand"})
    lines = []
    monkeypatch.setattr(os, "execv", lambda program, line: lines.append((program, line)))
    monkeypatch.setattr(tunnel.shutil, "which", lambda _name: "/usr/bin/ssh")
    slipway("vm", "ssh", "web-1", "-i", "key", "-o", "Compression=yes", "--", "ls", "-l")
    ((program, line),) = lines
    assert program == "/usr/bin/ssh"
    text = " ".join(line)
    assert f"-m slipway_cli tunnel {machine['id']}" in text
    assert f"HostKeyAlias=slipway-{machine['domain_uuid']}" in text
    assert f'UserKnownHostsFile="{home}/.local/state/slipway/known_hosts"' in text
    assert line.index("Compression=yes") < next(i for i, word in enumerate(line) if word.startswith("ProxyCommand"))
    assert line[-6:] == ["-l", "dockhand", "web-1", "--", "ls", "-l"]


def test_our_options_are_ones_that_ssh_knows(home):
    line = tunnel.ssh_command(vm(), "slipway", ["Compression=yes"], [])
    told = subprocess.run([line[0], "-G", *line[1:]], capture_output=True, text=True, check=True, timeout=10).stdout
    assert re.search(r"^proxycommand .*-m slipway_cli tunnel ", told, re.MULTILINE)
    assert f"userknownhostsfile {home}/.local/state/slipway/known_hosts" in told
    assert "stricthostkeychecking accept-new" in told


def test_without_ssh_the_sentence_says_what_to_install(portal, slipway, monkeypatch):
    portal.items("vms", vm())
    portal.items("images")
    monkeypatch.setattr(tunnel.shutil, "which", lambda _name: None)
    answer = slipway("vm", "ssh", "web-1")
    assert answer.code == 1
    assert "openssh-client" in answer.err
