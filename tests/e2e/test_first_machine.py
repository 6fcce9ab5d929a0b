"""The main job in a browser: sign in, make a machine, watch it boot, use its consoles, stop, start and delete it.

The tests stand in the order of the story and share one window, as a person does.
"""

import secrets

import libvirt
import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import BOOT_MS, LIT, document_stayed, harm, mark_document, pill, sign_in, until
from tests.live import traces

PASSWORD = "open-sesame-42"


def found(api, name):
    return [vm for vm in api("alice").call("GET", "vms?limit=100")["items"] if vm["name"] == name]


@pytest.fixture(scope="module")
def name(api):
    chosen = f"first-{secrets.token_hex(3)}"
    yield chosen
    for left in found(api, chosen):  # where the story broke off
        api("alice").delete(left["id"])


@pytest.fixture(scope="module")
def window(enter_to_stay):
    return enter_to_stay()


@pytest.fixture
def vm(api, name):
    return found(api, name)[0]


def test_a_wrong_password_is_said_and_nothing_else(page, live):
    sign_in(page, "alice", "not the password")
    expect(page.get_by_role("alert")).to_contain_text("10 wrong tries")
    expect(page.get_by_label("Name")).to_have_value("alice")
    assert harm(page) == []


def test_the_right_one_opens_the_portal(page, live):
    sign_in(page, "alice", live.passwords["alice"])
    page.wait_for_url(f"{live.url}/")
    expect(page.get_by_role("navigation", name="Main", exact=True)).to_be_visible()
    expect(page.locator("[data-online=yes]")).to_be_visible()


def test_the_form_makes_a_machine_and_its_page_follows_it_without_a_reload(page, host, name, api):
    page.get_by_role("link", name="New machine").first.click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Project").select_option("harbor")
    page.get_by_role("radio", name="Micro Linux").check(force=True)
    page.get_by_role("radio", name="nano").check(force=True)
    page.get_by_text("Keys and password").click()
    page.get_by_label("Console password").fill(PASSWORD)
    expect(page.locator("#command-cli")).to_contain_text(name)
    expect(page.locator("#fits")).to_be_visible()
    page.get_by_role("button", name="Create machine").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    mark_document(page)
    expect(pill(page)).to_have_text("Creating")
    steps = page.locator("#operation .sw-steps li")
    expect(steps).to_have_count(7)
    expect(page.locator("#operation [aria-current=step]")).to_have_count(1)
    assert harm(page) == []
    expect(pill(page)).to_have_text("Running", timeout=BOOT_MS)
    expect(page.locator("#operation")).to_have_count(0)
    expect(page.locator("#announce")).to_have_text(f"{name} is ready.")
    expect(page.locator("#reach")).to_contain_text("ssh slipway@")
    assert document_stayed(page)


def test_it_is_so_in_libvirt(host, vm):
    assert host.lookupByUUIDString(vm["domain_uuid"]).state()[0] == libvirt.VIR_DOMAIN_RUNNING


def test_its_screenshot_is_a_picture(page):
    until(
        lambda: page.locator("#screen img").evaluate("(image) => image.naturalWidth >= 640"),
        "no picture on its page",
        page=page,
    )


# --- consoles -------------------------------------------------------------------------------------------------
def test_the_screen_shows_what_the_guest_draws_and_what_is_typed(page, name):
    page.get_by_role("link", name="Open console").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Console of {name}")
    expect(page.locator("[data-link=yes]")).to_be_visible()
    until(lambda: page.evaluate(LIT) > 500, "the display is blank", page=page)
    assert harm(page) == []
    before = page.evaluate(LIT)
    page.locator("#pane-vnc canvas").click()
    page.keyboard.type("WWWWWWWWWW")
    # ten letters light far more than a blinking cursor does
    until(lambda: page.evaluate(LIT) > before + 200, "what was typed does not show", page=page)
    for _ in range(10):
        page.keyboard.press("Backspace")
    until(lambda: page.evaluate(LIT) < before + 100, "what was taken back still shows", page=page)


def test_the_serial_line_asks_who_is_there_and_answers(page):
    page.get_by_role("tab", name="Serial").click()
    rows = page.locator("#pane-serial .xterm-rows")
    expect(page.locator("[data-link=yes]")).to_be_visible()
    page.locator("#pane-serial textarea").focus()
    page.keyboard.press("Enter")
    expect(rows).to_contain_text("login:")
    page.keyboard.type("slipway\n")
    expect(rows).to_contain_text("Password:")
    page.keyboard.type(f"{PASSWORD}\n")
    expect(rows).to_contain_text("~$")  # what is typed before login has made its shell, it throws away
    page.keyboard.type("echo $((6 * 7))-answered\n")
    expect(rows).to_contain_text("42-answered")
    assert PASSWORD not in (rows.text_content() or "")
    assert harm(page) == []


def test_ctrl_alt_shift_gives_the_keyboard_back(page, name):
    page.locator("#pane-serial textarea").focus()
    page.keyboard.down("Control")
    page.keyboard.down("Alt")
    page.keyboard.press("Shift")
    page.keyboard.up("Alt")
    page.keyboard.up("Control")
    expect(page.get_by_role("link", name=f"Back to {name}")).to_be_focused()
    page.keyboard.press("Enter")
    expect(pill(page)).to_have_text("Running")


# --- off, on, gone --------------------------------------------------------------------------------------------
def test_stop_asks_the_guest(page, window, host, vm, name):
    window.allow(r"status of 409 .*/screenshot")  # asked for just when it went off
    mark_document(page)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".sw-toast")).to_contain_text(f"{name} is asked to shut down")
    expect(page.locator("#operation")).to_contain_text("shut down")
    expect(pill(page)).to_have_text("Stopped", timeout=90_000)
    assert document_stayed(page)
    domain = host.lookupByUUIDString(vm["domain_uuid"])
    assert domain.state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN], (
        "not shut down by itself"
    )


def test_start_starts_it(page, host, vm):
    page.get_by_role("button", name="Start").first.click()
    expect(pill(page)).to_have_text("Running")
    assert document_stayed(page)
    assert host.lookupByUUIDString(vm["domain_uuid"]).state()[0] == libvirt.VIR_DOMAIN_RUNNING


def test_delete_asks_for_the_name_and_leaves_nothing(page, live, vm, name):
    assert traces(live, vm["domain_uuid"])
    page.locator("#danger").get_by_role("link", name="Delete").click()
    dialog = page.get_by_role("dialog", name=f"Delete {name} for good?")
    sure = dialog.get_by_role("button", name="Delete for good")
    expect(sure).to_be_disabled()
    dialog.get_by_role("textbox").fill(name[:-1])
    expect(sure).to_be_disabled()
    dialog.get_by_role("textbox").fill(name)
    assert harm(page) == []
    sure.click()
    page.wait_for_url(f"{live.url}/vms/")
    expect(page.get_by_role("link", name=name)).to_have_count(0)
    assert traces(live, vm["domain_uuid"]) == []
