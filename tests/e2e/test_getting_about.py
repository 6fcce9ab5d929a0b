"""Finding and commanding: search, filters, the palette, single keys, several machines at once, theme, language."""

import contextlib
import re
import secrets

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import document_stayed, harm, mark_document, pill, until


@pytest.fixture
def two(api):
    """Two machines that are off: creating them boots nothing."""
    alice, mark = api("alice"), secrets.token_hex(3)
    asked = [
        alice.call(
            "POST",
            "vms",
            {"name": f"{n}-{mark}", "image": "micro", "flavor": "nano", "project": "harbor", "start": False},
        )
        for n in ("left", "right")
    ]
    made = [alice.finished(answer["operation"]) and answer["vm"] for answer in asked]
    yield mark, made
    for vm in made:
        with contextlib.suppress(AssertionError):
            alice.delete(vm["id"])


def row(page, vm):
    return page.locator(f"#row-{vm['id']}")


# --- several at once ------------------------------------------------------------------------------------------
def test_two_machines_are_found_started_stopped_and_deleted_together(alice, two):
    mark, vms = two
    alice.goto("/vms/?project=harbor&view=table")
    mark_document(alice)
    alice.get_by_role("searchbox").fill(mark)
    expect(alice.locator("#machines tbody tr")).to_have_count(2)
    expect(alice).to_have_url(re.compile(f"q={mark}"))
    alice.get_by_label("Select all machines on this page").check()
    bar = alice.get_by_role("region", name="Selected machines")
    expect(bar).to_contain_text("2 selected")
    assert harm(alice) == []
    bar.get_by_role("button", name="Start").click()
    expect(alice.locator(".sw-toast")).to_contain_text("2 machines start.")
    expect(bar).to_be_hidden()
    for vm in vms:
        expect(row(alice, vm).locator(".sw-status")).to_have_text("Running")
    for vm in vms:
        alice.get_by_label(f"Select {vm['name']}").check()
    bar.get_by_role("link", name="Delete").click()
    dialog = alice.get_by_role("dialog", name="Delete 2 machines?")
    expect(dialog).to_contain_text("2 of them are on")
    dialog.get_by_label("Type 2 to confirm").fill("2")
    dialog.get_by_role("button", name="Delete 2 machines").click()
    for vm in vms:
        expect(row(alice, vm)).to_have_count(0, timeout=60_000)
    assert document_stayed(alice)


def test_search_and_filters_answer_without_a_page_load(alice, machine):
    alice.goto("/vms/?view=table")
    mark_document(alice)
    search = alice.get_by_role("searchbox")
    for what in (machine["name"], machine["ip_addresses"][0], "micro"):
        search.fill(what)
        expect(row(alice, machine)).to_be_visible()
    search.fill("no such thing at all")
    expect(alice.get_by_role("main")).to_contain_text("Nothing matches “no such thing at all”")
    alice.get_by_role("link", name="Clear search and filter").click()
    mark_document(alice)
    alice.get_by_role("link", name=re.compile("^Not running")).click()
    expect(row(alice, machine)).to_have_count(0)
    alice.get_by_role("link", name=re.compile("^Running")).click()
    expect(row(alice, machine)).to_be_visible()
    alice.get_by_role("link", name="Screens").click()
    expect(alice.locator(f"#tile-{machine['id']}")).to_be_visible()
    alice.get_by_role("link", name="Table").click()
    expect(row(alice, machine)).to_be_visible()
    assert document_stayed(alice)


# --- the palette and single keys ------------------------------------------------------------------------------
def test_the_palette_finds_a_machine_and_what_can_be_done_to_it(alice, machine):
    alice.goto("/")
    alice.keyboard.press("Control+k")
    palette = alice.get_by_role("dialog", name="Command palette")
    expect(palette.get_by_role("combobox")).to_be_focused()
    palette.get_by_role("combobox").fill(machine["name"])
    expect(palette.get_by_role("option", name=f"Stop: {machine['name']}")).to_be_visible()
    first = palette.get_by_role("option", name=machine["name"]).first
    expect(first).to_have_attribute("aria-selected", "true")
    assert harm(alice) == []
    alice.keyboard.press("Escape")
    expect(palette).to_be_hidden()
    alice.keyboard.press("Control+k")
    palette.get_by_role("combobox").fill(machine["name"])
    expect(palette.get_by_role("option", name=f"Stop: {machine['name']}")).to_be_visible()
    alice.keyboard.press("Enter")
    expect(alice.get_by_role("heading", level=1)).to_have_text(machine["name"])


def test_single_keys_go_about_and_act(alice, machine):
    alice.goto("/")
    alice.keyboard.press("g")
    alice.keyboard.press("m")
    expect(alice.get_by_role("heading", level=1)).to_have_text("Machines")
    alice.keyboard.press("/")
    search = alice.get_by_role("searchbox")
    expect(search).to_be_focused()
    alice.keyboard.type("c?gq")  # in a field these are letters
    expect(search).to_have_value("c?gq")
    search.fill(machine["name"])
    expect(alice.locator("#machines tbody tr")).to_have_count(1)
    search.blur()
    alice.keyboard.press("j")
    expect(alice.get_by_role("link", name=machine["name"], exact=True)).to_be_focused()
    alice.keyboard.press("x")
    expect(alice.get_by_role("region", name="Selected machines")).to_contain_text("1 selected")
    alice.keyboard.press(".")
    expect(row(alice, machine).get_by_role("link", name="Details")).to_be_visible()
    alice.keyboard.press("Escape")
    expect(row(alice, machine).get_by_role("link", name="Details")).to_be_hidden()
    alice.keyboard.press("?")
    expect(alice.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert harm(alice) == []
    alice.keyboard.press("Escape")
    alice.keyboard.press("c")
    expect(alice.get_by_role("heading", level=1)).to_have_text("New machine")


def test_o_opens_the_console(alice, machine):
    alice.goto(f"/vms/{machine['id']}/")
    alice.keyboard.press("o")
    expect(alice.locator("[data-link=yes]")).to_be_visible()


def test_single_keys_can_be_switched_off(enter):
    page = enter("bob").page
    try:
        page.goto("/")
        page.keyboard.press("?")
        keys = page.get_by_role("dialog", name="Keyboard shortcuts")
        keys.get_by_label("Single letters act as commands").uncheck()
        keys.get_by_role("button", name="Save").click()
        expect(page.locator("body")).to_have_attribute("data-keys", "off")
        page.keyboard.press("c")
        page.keyboard.press("Control+k")  # a command with a modifier stays
        expect(page.get_by_role("dialog", name="Command palette")).to_be_visible()
        assert page.url.endswith("/")
    finally:
        page.goto("/")
        page.get_by_label("Account: bob").click()
        page.get_by_role("button", name="Keyboard shortcuts").click()
        page.get_by_label("Single letters act as commands").check()
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        expect(page.locator("body")).to_have_attribute("data-keys", "on")


def test_everything_of_a_machine_is_reached_with_the_tab_key(alice, machine):
    alice.goto(f"/vms/{machine['id']}/")
    alice.keyboard.press("Tab")
    expect(alice.get_by_role("link", name="Skip to content")).to_be_focused()
    alice.keyboard.press("Enter")
    reached = []
    for _ in range(20):
        alice.keyboard.press("Tab")
        reached.append(alice.evaluate("() => document.activeElement.textContent.trim()"))
    assert [label for label in ("Stop", "More", "Open console", "Delete") if label not in reached] == []


# --- theme and language ---------------------------------------------------------------------------------------
def test_the_theme_follows_the_system_until_a_person_chooses_and_is_remembered(enter):
    window = enter("alice", color_scheme="dark")
    page = window.page
    root = page.locator("html")
    page.goto("/")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.get_by_role("button", name="Switch to light").click()
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.goto("/vms/")
    expect(root).to_have_attribute("data-bs-theme", "light")
    assert page.context.request.get("/quotas/").text().count('data-bs-theme="light"') == 1, (
        "rendered, so nothing flashes"
    )


def test_french_is_french(alice, machine):
    alice.goto(f"/vms/{machine['id']}/")
    alice.get_by_label("Account: alice").click()
    alice.get_by_role("button", name="Français").click()
    expect(alice.locator("html")).to_have_attribute("lang", "fr")
    expect(pill(alice)).to_have_text("En marche")
    expect(alice.get_by_role("navigation", name="Principal", exact=True)).to_contain_text("Accueil")
    alice.goto("/vms/new")
    expect(alice.get_by_role("button", name="Créer la machine")).to_be_visible()
    until(lambda: "Gio" in alice.get_by_role("main").text_content(), "sizes are not in French units", page=alice)
