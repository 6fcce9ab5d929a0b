"""The console page when things go wrong: a lost connection, a console cut or refused, and text typed for a person.

The page's own sockets are closed with the codes that a gateway would use; everything else is real, down to the guest.
"""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browsing import LIT, harm, until

LOST = 4999  # a code that means nothing to the page, as 1006 and 1012 do, which no page may close with
# keeps the sockets to the gateway within reach; `refuse` closes the next ones as soon as they are open
REACH = """
window.wires = [];
window.refuse = 0;
window.WebSocket = new Proxy(WebSocket, {
  construct(Plain, given) {
    const socket = new Plain(...given);
    if (String(given[0]).includes("/console/")) {
      window.wires.push(socket);
      if (window.refuse) socket.addEventListener("open", () => socket.close(window.refuse));
    }
    return socket;
  },
});
"""


class Wire:
    """The page's connections to the gateway."""

    def __init__(self, page: Page) -> None:
        self._page = page
        page.add_init_script(REACH)

    def count(self) -> int:
        return int(self._page.evaluate("window.wires.length"))

    def cut(self, code: int) -> None:
        self._page.evaluate("(code) => window.wires.at(-1).close(code)", code)

    def refuse(self, code: int) -> None:
        """Refuse from now on, on this document; 0 ends it."""
        self._page.evaluate("(code) => { window.refuse = code }", code)

    def refuse_from_the_start(self, code: int) -> None:
        self._page.add_init_script(f"window.refuse = {code};")


@pytest.fixture
def page(enter) -> Page:
    return enter("alice").page


@pytest.fixture
def wire(page) -> Wire:
    return Wire(page)


@pytest.fixture
def opened(page, wire, machine) -> Wire:
    page.goto(f"/vms/{machine['id']}/console")
    connected(page)
    return wire


def connected(page: Page) -> None:
    expect(page.locator("[data-link=yes]")).to_be_visible()
    expect(page.locator("[data-over]:visible")).to_have_count(0)


def over(page: Page, name: str):
    return page.locator(f"[data-over={name}]")


def tickets(page: Page) -> list[str]:
    """Return the answers' tickets as they come, from now on."""
    found: list[str] = []
    page.on(
        "response",
        lambda answer: answer.request.method == "POST" and answer.ok and found.append(answer.json()["ticket"]),
    )
    return found


def test_a_lost_connection_comes_back_with_a_new_ticket(page, wire, machine):
    got = tickets(page)
    page.goto(f"/vms/{machine['id']}/console")
    connected(page)
    wire.cut(LOST)
    expect(over(page, "lost")).to_contain_text("Connection lost, trying again")
    expect(over(page, "lost")).to_contain_text("The machine keeps running.")
    until(lambda: wire.count() == 2, "no second try", page=page)
    connected(page)
    assert wire.count() == len(got) == len(set(got)) == 2


def test_while_the_gateway_is_away_the_last_picture_stays(page, opened):
    until(lambda: page.evaluate(LIT) > 100, "the display is blank", page=page)
    opened.refuse(LOST)
    opened.cut(LOST)
    expect(over(page, "lost").locator("[data-attempt]")).to_have_text("2")
    expect(page.locator("#pane-vnc img")).to_have_attribute("src", re.compile("^data:image/png"))
    opened.refuse(0)
    page.get_by_role("button", name="Try now").click()
    connected(page)


@pytest.mark.parametrize(
    ("code", "name", "says"),
    [
        (4404, "gone", "This machine is gone"),
        (4429, "many", "Too many consoles are open"),
        (4403, "revoked", "Your access ended"),
    ],
)
def test_a_refusal_says_why_and_is_not_tried_again_by_itself(page, wire, machine, code, name, says):
    wire.refuse_from_the_start(code)
    page.goto(f"/vms/{machine['id']}/console")
    expect(over(page, name)).to_be_visible()
    expect(over(page, name)).to_contain_text(says)
    assert wire.count() == 1
    assert harm(page) == []


def test_a_cut_whose_reason_has_passed_is_mended_in_silence(page, opened):
    opened.cut(4403)  # as after a change of one's own password: the login is new, and opens it again
    until(lambda: opened.count() == 2, "no second try", page=page)
    connected(page)


def test_who_loses_the_role_is_cut_within_seconds_and_told(enter, api: Callable, machine):
    bobs = enter("bob")
    bobs.allow("status of 40[34]")
    bobs.page.goto(f"/vms/{machine['id']}/console?kind=serial")
    connected(bobs.page)
    alice = api("alice")
    members = f"projects/{machine['project']['id']}/members"
    try:
        alice.call("POST", members, {"username": "bob", "role": "viewer"})
        expect(over(bobs.page, "revoked")).to_be_visible()
    finally:
        alice.call("POST", members, {"username": "bob", "role": "member"})
    bobs.page.get_by_role("button", name="Try again").click()
    connected(bobs.page)


def test_text_is_typed_as_keys_and_what_has_no_key_is_said_first(page, opened):
    until(lambda: page.evaluate(LIT) > 100, "the display is blank", page=page)
    before = page.evaluate(LIT)
    page.get_by_role("button", name="Paste").click()
    page.get_by_label("Text").fill('WWW"{Aé}$%&WWW')
    expect(page.locator("[data-cannot]")).to_contain_text("Cannot be typed and is left out: é")
    page.get_by_role("button", name="Type it").click()
    expect(page.locator("#paste")).to_be_hidden()
    until(lambda: page.evaluate(LIT) > before + 200, "what was typed does not show", page=page)
    for _ in range(14):
        page.keyboard.press("Backspace")  # the keyboard is the guest's again


@pytest.mark.parametrize(
    ("query", "loaded", "left"),
    [("", "novnc/rfb", "xterm/xterm.mjs"), ("?kind=serial", "xterm/xterm.mjs", "novnc/rfb")],
)
def test_only_the_library_of_the_kind_that_is_open_is_loaded(page, machine, query, loaded, left):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"/vms/{machine['id']}/console{query}")
    connected(page)
    assert any(loaded in url for url in asked)
    assert not any(left in url for url in asked)
