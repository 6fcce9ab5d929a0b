"""Sandboxes in a browser: one press makes one, commands and files go in and out, it is sealed, reset, and gone.

The tests stand in the order of the story and share one window, as a person does.
"""

import re
import secrets
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import BOOT_MS, document_stayed, harm, mark_document, pill, sideways, until
from tests.live import traces, wait_for

SECRET = "put-into-the-sandbox"
ENDS_SOON = """
from datetime import timedelta
from accounts import clock
from sandboxes.models import Sandbox
soon = clock.now() + timedelta(minutes=12, seconds=50)
Sandbox.objects.filter(vm__name="{name}").update(expires_at=soon, warn_at=None, warned_at=None)
"""


def found(api, name):
    return [box for box in api("alice").call("GET", "sandboxes?limit=100")["items"] if box["vm"]["name"] == name]


@pytest.fixture(scope="module")
def name(api):
    chosen = f"box-{secrets.token_hex(3)}"
    yield chosen
    for left in found(api, chosen):  # where the story broke off
        api("alice").http.delete(f"sandboxes/{left['vm']['id']}")


@pytest.fixture(scope="module")
def window(enter_to_stay):
    return enter_to_stay("alice", accept_downloads=True)


@pytest.fixture
def box(api, name):
    return found(api, name)[0]


def run(page, command):
    page.get_by_label("Command to run in the sandbox").fill(command)
    page.get_by_role("button", name="Run", exact=True).click()


def output(page):
    return page.get_by_role("log", name="Output of the run")


def outcome(page):
    return page.locator("#run-now [data-meta]")


def test_a_template_is_ready(page, api):
    def ready():
        [micro] = [one for one in api("alice").call("GET", "templates")["items"] if one["name"] == "micro"]
        return any(build["fits"] for build in micro["builds"])

    wait_for(ready, BOOT_MS / 1000, "the template micro is not prepared")
    page.goto("/sandboxes/")
    card = page.locator("article.sw-tpl").filter(has=page.get_by_role("heading", name="micro", exact=True))
    expect(card.locator(".sw-ready")).to_be_visible()
    assert harm(page) == []
    card.get_by_role("link", name="micro").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("micro")
    expect(page.get_by_role("heading", name="Warm pool")).to_be_visible()


def micro_card(page):
    return page.locator("article.sw-tpl").filter(has=page.get_by_role("heading", name="micro", exact=True))


def come_back(page):
    """Let the page be read again, as it is when somebody comes back to it, or a hint arrives."""
    with page.expect_response(lambda response: response.request.method == "GET"):
        page.evaluate("dispatchEvent(Object.assign(new Event('pageshow'), {persisted: true}))")


def test_what_was_chosen_stays_chosen(page):
    page.goto("/sandboxes/")
    card = micro_card(page)
    card.locator("summary").click()
    card.get_by_label("Network").select_option("none")
    card.get_by_label("Name").fill("Not A Name")
    card.get_by_label("Project").select_option("harbor")
    come_back(page)
    expect(card.get_by_label("Network")).to_have_value("none")
    card.get_by_role("button", name="New sandbox").click()
    refused = page.get_by_role("alert").filter(has_text="No sandbox was made")
    expect(refused).to_be_visible()
    assert page.url.endswith("/sandboxes/")  # where it can be read again
    expect(card.get_by_label("Name")).to_have_value("Not A Name")
    expect(card.get_by_label("Network")).to_have_value("none")
    come_back(page)
    expect(refused).to_be_visible()


def test_a_double_click_makes_one(page, api):
    chosen = f"twice-{secrets.token_hex(3)}"
    page.goto("/sandboxes/")
    card = micro_card(page)
    card.locator("summary").click()
    card.get_by_label("Project").select_option("harbor")
    before = len(api("alice").call("GET", "sandboxes?limit=100")["items"])
    card.get_by_label("Name").fill(chosen)
    card.get_by_role("button", name="New sandbox").dblclick()
    expect(page.get_by_role("heading", level=1)).to_have_text(chosen)
    assert len(api("alice").call("GET", "sandboxes?limit=100")["items"]) == before + 1
    [box] = found(api, chosen)
    api("alice").call("DELETE", f"sandboxes/{box['vm']['id']}", status=202)


def test_one_press_makes_one(page, name):
    page.goto("/sandboxes/")
    card = page.locator("article.sw-tpl").filter(has=page.get_by_role("heading", name="micro", exact=True))
    card.locator("summary").click()
    card.get_by_label("Project").select_option("harbor")
    card.get_by_label("Name").fill(name)
    assert harm(page) == []
    card.get_by_role("button", name="New sandbox").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    mark_document(page)
    expect(pill(page)).to_have_text("Running", timeout=BOOT_MS)
    expect(page.locator("#time-left [data-left]")).to_have_text(re.compile(r"^(1\sh\s00|59\smin|58\smin)"))
    assert document_stayed(page)
    assert harm(page) == []
    assert sideways(page) == []


def test_a_command_says_what_it_says_while_it_runs(page):
    run(page, "echo to-stdout; echo to-stderr >&2; sleep 1; exit 3")
    expect(output(page)).to_contain_text("to-stdout")
    expect(output(page).locator("[data-stream=stderr]")).to_contain_text("to-stderr")
    expect(outcome(page)).to_contain_text("exit code 3")
    expect(page.locator("#runs li").first).to_contain_text("exit code 3")
    assert harm(page) == []


def test_of_much_output_the_newest_is_shown(page):
    run(page, "yes | head -c 3000000; echo the-e''nd")
    expect(output(page)).to_contain_text("the-end", timeout=BOOT_MS)
    assert output(page).evaluate("terminal => terminal.textContent.length") < 400_000
    expect(outcome(page)).to_contain_text("exit code 0", timeout=BOOT_MS)


def test_a_command_is_stopped(page):
    run(page, "echo begun; sleep 1000")
    expect(output(page)).to_contain_text("begun")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(outcome(page)).to_contain_text("stopped after")


def test_the_next_command_takes_the_place_of_one_that_runs(page):
    run(page, "sleep 3; echo too-late")
    expect(outcome(page)).to_contain_text("running")
    run(page, "echo instead")
    expect(output(page)).to_contain_text("instead")
    expect(outcome(page)).to_contain_text("exit code 0")
    # the first one's seconds are not counted any more
    expect(page.locator("#runs li").nth(1)).to_contain_text("exit code 0")
    expect(outcome(page)).to_contain_text("exit code 0")
    expect(output(page)).not_to_contain_text("too-late")


def test_a_run_has_a_page_of_its_own(page, name):
    page.locator("#runs").get_by_role("link", name="to-stdout").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run in {name}")
    expect(output(page)).to_contain_text("to-stderr")
    expect(outcome(page)).to_have_text("This is all of it.")
    assert harm(page) == []
    page.get_by_role("link", name=name).click()
    expect(pill(page)).to_have_text("Running")


def test_files_go_in_and_come_out(page, tmp_path):
    source = Path(tmp_path, "in.txt")
    source.write_text(SECRET)
    listing = page.locator("[data-folder]")
    expect(listing).to_contain_text("/home/slipway")
    page.get_by_label("Files to put").set_input_files(source)
    page.get_by_role("button", name="Put", exact=True).click()
    expect(page.locator("[data-said]")).to_contain_text("in.txt is in the sandbox.")
    expect(listing.get_by_role("link", name="Get in.txt")).to_be_visible()
    assert harm(page) == []
    run(page, "cat /home/slipway/in.txt")
    expect(output(page)).to_contain_text(SECRET)
    page.get_by_label("Get a file or folder").fill("/home/slipway/in.txt")
    with page.expect_download() as download:
        page.get_by_role("button", name="Get").click()
    assert Path(download.value.path()).read_text() == SECRET


def test_a_file_that_is_not_there_is_said_on_the_page(page, window):
    window.allow("status of 404 .*such%2Ffile")
    address = page.url
    page.get_by_label("Get a file or folder").fill("/no/such/file")
    page.get_by_role("button", name="Get", exact=True).click()
    expect(page.locator("[data-failures]")).to_contain_text("no such file")
    assert page.url == address
    page.get_by_label("Get a file or folder").fill("")


def test_several_files_go_in_and_each_that_fails_says_why(page, tmp_path, window):
    window.allow(r"status of 409 .*/files")
    run(page, "mkdir -p /home/slipway/many/taken; echo made")
    expect(output(page)).to_contain_text("made")
    listing = page.locator("[data-folder]")
    listing.get_by_role("link", name="List it again").click()
    listing.get_by_role("link", name="many", exact=True).click()
    expect(page.get_by_label("Put into folder")).to_have_value("/home/slipway/many/")
    sources = [Path(tmp_path, name) for name in ("a <b>.txt", "taken", "z.txt")]
    for source in sources:
        source.write_text(source.name)
    page.get_by_label("Files to put").set_input_files(sources)
    page.get_by_role("button", name="Put", exact=True).click()
    expect(page.locator("[data-said]")).to_contain_text("2 of 3 files are in /home/slipway/many/.")
    expect(page.locator("[data-failures] li")).to_have_text(
        ["/home/slipway/many/taken: There is a folder of this name."]
    )
    for name in ("a <b>.txt", "taken", "z.txt"):
        expect(listing.get_by_role("link", name=f"Get {name}")).to_be_visible()
    with page.expect_download() as download:
        listing.get_by_role("link", name="Get a <b>.txt").click()
    assert Path(download.value.path()).read_text() == "a <b>.txt"


def test_it_could_not_get_out(page):
    page.get_by_role("button", name="Check isolation").click()
    report = page.locator("#report")
    expect(report.locator(".sw-tag")).to_have_text(re.compile(r"^\d+ of \d+ held$"), timeout=BOOT_MS)
    expect(report.locator(".sw-probe li")).not_to_have_count(0)
    expect(report.locator(".sw-probe li").filter(has_text="Connect to this host")).to_contain_text(
        "names alone (port 53)"
    )
    for probe in ("Read a metadata service", "Send with another IP", "Send with another MAC"):
        line = report.locator(".sw-probe li").filter(has_text=probe)
        expect(line).to_contain_text("no answer")
    expect(report.locator(".t-bad")).to_have_count(0)
    assert harm(page) == []


def test_an_hour_more(page, name):
    before = page.locator("#time-left time").get_attribute("datetime")
    page.locator("#time-left").get_by_role("button", name="Extend 1 hour").click()
    expect(page.locator(".sw-toast").last).to_contain_text(f"{name} lives 1 hour longer.")
    expect(page.locator("#time-left time")).not_to_have_attribute("datetime", before)


def test_near_its_end_an_open_page_says_so_and_offers_more(page, live, name):
    mark_document(page)
    live.manage("shell", "-c", ENDS_SOON.format(name=name))
    note = page.locator("#ending")
    expect(note).to_contain_text(re.compile(rf"{name} ends in 1[12]\smin\."), timeout=BOOT_MS)
    expect(note).to_contain_text("Then it is paused to disk")
    assert harm(page) == []
    note.get_by_role("button", name="Extend 1 hour").click()
    expect(note).to_have_count(0)
    assert document_stayed(page)


def test_paused_its_clock_stands_still(page, window):
    window.allow(r"status of 409 .*/screenshot")  # asked for just when it went off
    mark_document(page)
    page.locator("#time-left").get_by_role("button", name="Pause").click()
    expect(pill(page)).to_have_text("Suspended", timeout=BOOT_MS)
    expect(page.locator("#time-left")).to_contain_text("the clock is paused")
    assert harm(page) == []
    page.locator("#time-left").get_by_role("button", name="Resume").click()
    expect(pill(page)).to_have_text("Running", timeout=BOOT_MS)
    assert document_stayed(page)


def test_reset_asks_and_leaves_nothing_of_what_was_done(page, name, window):
    window.allow(r"status of 409 .*/screenshot")
    page.get_by_role("link", name="Reset").click()
    dialog = page.get_by_role("dialog", name=f"Reset {name}?")
    assert harm(page) == []
    dialog.get_by_role("button", name="Reset").click()
    expect(page.locator("#announce")).to_have_text(f"{name} is as new.", timeout=BOOT_MS)
    expect(pill(page)).to_have_text("Running", timeout=BOOT_MS)
    run(page, "cat /home/slipway/in.txt || echo nothing-there")
    expect(output(page)).to_contain_text("nothing-there")


def test_the_palette_finds_it(page, name):
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").fill(name)
    expect(page.get_by_role("option", name=f"Reset: {name}")).to_be_visible()
    page.get_by_role("combobox").fill("micro")
    expect(page.get_by_role("option", name="New sandbox from micro")).to_be_visible()
    page.keyboard.press("Escape")


def test_deleted_it_leaves_nothing(page, live, box, name):
    uuid = box["vm"]["domain_uuid"]
    assert traces(live, uuid)
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("dialog", name=f"Delete {name}?").get_by_role("button", name="Delete").click()
    page.wait_for_url(f"{live.url}/sandboxes/")
    expect(page.get_by_role("link", name=name)).to_have_count(0)
    until(lambda: traces(live, uuid) == [], "something of it is left", page=page)
