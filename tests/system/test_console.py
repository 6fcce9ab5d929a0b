"""Consoles on real parts: pixels and keys of QEMU's display, bytes of a serial line, through the running gateway."""

import contextlib
import io
import re
import secrets
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.live import Api, Live, wait_for
from tests.rfb import Viewer, open_console

PASSWORD = "open-sesame-42"


@pytest.fixture(scope="module")
def vm(alice: Api):
    made = alice.create(f"con-{secrets.token_hex(3)}", project="harbor", password=PASSWORD)
    yield made
    alice.delete(made["id"])


@pytest.fixture
def person(live: Live):
    """Return programs of other people, each with a token of its own: `person("bob")`."""
    with contextlib.ExitStack() as stack:

        def sign_in(name: str) -> Api:
            api = live.api(name)
            stack.enter_context(contextlib.closing(api.http))
            return api

        yield sign_in


def ticket(api: Api, vm, kind="vnc"):
    return api.call("POST", f"vms/{vm['id']}/console", {"kind": kind}, status=201)


def close_code(socket: ClientConnection, seconds=30) -> int:
    """Read until the gateway closes; return its code."""
    until = time.monotonic() + seconds
    try:
        while True:
            socket.recv(timeout=until - time.monotonic())
    except ConnectionClosed as closed:
        return closed.rcvd.code


class Terminal:
    """A serial console as a person uses it: `expect("login:")`, `say("slipway")`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen = b""

    def expect(self, pattern: str, seconds: float = 60) -> re.Match[bytes]:
        until = time.monotonic() + seconds
        while not (found := re.search(pattern.encode(), self.seen)):
            left = until - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.seen[-500:]!r}"
            try:
                self.seen += self.socket.recv(timeout=left)
            except TimeoutError:
                continue
        self.seen = self.seen[found.end() :]
        return found

    def say(self, line: str) -> None:
        self.socket.send(line.encode() + b"\r")

    def sign_in(self) -> None:
        """Sign in; getty drops what is typed while it draws its prompt, and then asks once more."""
        self.say("")
        self.expect(r"login: ")
        self.say("slipway")
        while self.expect(r"login: |[Pp]assword: ")[0] == b"login: ":
            self.say("slipway")
        self.say(PASSWORD)
        self.expect(r"[$#] ")


def shown(picture: bytes) -> bytes:
    """Return the picture if it has more than one colour, else nothing."""
    return picture if any(picture[i : i + 4] != picture[:4] for i in range(0, len(picture), 4)) else b""


# --- the display ------------------------------------------------------------------------------------------------
def test_the_display_shows_pixels_and_a_key_changes_them(alice, vm):
    with open_console(ticket(alice, vm)) as socket:
        viewer = Viewer(socket)
        before = wait_for(lambda: shown(viewer.look()), 60, "the display is blank")
        viewer.type("slipway")
        wait_for(lambda: viewer.look() != before, 30, "what was typed does not show")


def test_two_people_watch_the_same_display(person, alice, vm):
    bob = person("bob")
    with open_console(ticket(alice, vm)) as first, open_console(ticket(bob, vm)) as second:
        one, two = Viewer(first), Viewer(second)
        wait_for(lambda: one.look() == two.look(), 30, "they see different things")
        one.type("x")
        assert two.look(), "nobody was thrown out"


def test_a_screenshot_is_a_picture_of_it(alice, vm):
    answer = wait_for(
        lambda: (got := alice.http.get(f"vms/{vm['id']}/screenshot")).is_success and got, 10, "no picture"
    )
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.format == "PNG"
    assert picture.width >= 640
    assert len(picture.convert("RGB").getcolors(2**20)) > 1


# --- the serial line --------------------------------------------------------------------------------------------
def test_signing_in_on_the_serial_line_with_the_password_of_the_create_call(alice, vm):
    with open_console(ticket(alice, vm, "serial")) as socket:
        terminal = Terminal(socket)
        terminal.sign_in()
        terminal.say("echo $((6 * 7))-$(hostname)")
        terminal.expect(rf"42-{vm['name']}")


def test_who_comes_later_sees_what_was_said_before(person, alice, vm):
    mark = secrets.token_hex(4)
    with open_console(ticket(alice, vm, "serial")) as first:
        Terminal(first).say(f"# {mark}")
        Terminal(first).expect(mark)
    with open_console(ticket(person("bob"), vm, "serial")) as second:
        Terminal(second).expect(mark)


def test_a_flood_from_the_guest_costs_the_gateway_no_memory_A18(live, alice, vm):
    with (
        open_console(ticket(alice, vm, "serial")) as socket,
        open_console(ticket(alice, vm, "serial"), max_queue=1),  # looks away
    ):
        terminal = Terminal(socket)
        terminal.say("")
        terminal.expect(r"[$#] ")
        pid = gateway_pid(live)
        terminal.say("yes 0123456789abcdef0123456789abcdef & sleep 1")
        terminal.expect(r"(0123456789abcdef){2}\r?\n")
        before, most, until, seen = memory_mib(pid), 0.0, time.monotonic() + 10, 0
        while time.monotonic() < until:
            seen += len(socket.recv(timeout=10))
            most = max(most, memory_mib(pid))
        assert seen > 2**17
        assert most - before < 4
        socket.send(b"\rkill %1\r")
        terminal.seen = b""
        mark = secrets.token_hex(4)
        terminal.say(f"echo {mark[:4]}''{mark[4:]}")
        terminal.expect(mark)


def gateway_pid(live: Live) -> int:
    port = urlsplit(live.url).port + 1
    listening = subprocess.run(["ss", "-Hltnp", f"sport = :{port}"], capture_output=True, text=True, check=True)
    return int(re.search(r"pid=(\d+)", listening.stdout)[1])


def memory_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


# --- who may, and for how long ----------------------------------------------------------------------------------
def test_a_ticket_works_once_A2(alice, vm):
    issued = ticket(alice, vm)
    with open_console(issued) as socket:
        assert socket.recv(timeout=30)
        with open_console(issued) as again:
            assert close_code(again) == 4401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "the portal"])
def test_a_page_cannot_use_a_programs_ticket_A3(live, alice, vm, origin):
    with pytest.raises(InvalidStatus) as caught:
        open_console(ticket(alice, vm), origin=live.url if origin == "the portal" else origin)
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize(("name", "status"), [("dana", 403), ("admin", 403), ("charlie", 404)])
def test_who_gets_no_ticket_A1(person, vm, name, status):
    person(name).call("POST", f"vms/{vm['id']}/console", {"kind": "vnc"}, status=status)


def test_a_revoked_token_ends_its_consoles_within_5_seconds_A21(person, vm):
    bob = person("bob")
    with open_console(ticket(bob, vm)) as socket:
        assert socket.recv(timeout=30)
        tokens = bob.call("GET", "tokens")["items"]
        newest = max(tokens, key=lambda token: token["created_at"])
        bob.call("DELETE", f"tokens/{newest['id']}")
        started = time.monotonic()
        assert close_code(socket) == 4403
        assert time.monotonic() - started < 5


# --- ends -------------------------------------------------------------------------------------------------------
def test_a_restarted_gateway_asks_to_come_back_and_serves_again_F14(live, alice, vm):
    with open_console(ticket(alice, vm)) as display, open_console(ticket(alice, vm, "serial")) as line:
        assert display.recv(timeout=30)
        pid = gateway_pid(live)
        subprocess.run(["kill", "-TERM", str(pid)], check=True)
        assert close_code(display) == close_code(line) == 1012
    wait_for(lambda: serves(alice, vm), 15, "the gateway does not serve again")
    assert gateway_pid(live) != pid


def serves(alice, vm) -> bool:
    try:
        with open_console(ticket(alice, vm)) as socket:
            return bool(socket.recv(timeout=5))
    except OSError:
        return False


def test_a_machine_that_is_switched_off_closes_its_consoles_and_gives_no_tickets(alice, vm):
    with open_console(ticket(alice, vm)) as display, open_console(ticket(alice, vm, "serial")) as line:
        assert display.recv(timeout=30)
        alice.do(vm["id"], "force-off")
        assert close_code(display) == close_code(line) == 4409
    answer = alice.call("POST", f"vms/{vm['id']}/console", {"kind": "vnc"}, status=409)
    assert answer["code"] == "invalid_state"
    assert alice.call("GET", f"vms/{vm['id']}/screenshot", status=409)["code"] == "invalid_state"


def test_a_machine_shows_its_boot_from_the_first_line(alice, vm):
    alice.do(vm["id"], "start")
    with open_console(ticket(alice, vm, "serial")) as socket:
        Terminal(socket).expect(r"login: ")
