"""Who sees what: a stranger, a viewer, staff; what a quota says when it refuses; a token that a person makes."""

import re
import secrets

import httpx
import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import harm, pill, sign_in


def test_a_stranger_finds_no_trace_of_a_machine(enter, machine):
    window = enter("charlie")
    window.allow("status of 404")
    page = window.page
    for address in ("", "console", "delete", "resize"):
        answer = page.goto(f"/vms/{machine['id']}/{address}")
        assert answer.status == 404
        expect(page.get_by_role("main")).to_contain_text("There is no such page, or it is not yours to see")
    page.goto("/vms/")
    expect(page.get_by_role("heading", name="No machines yet")).to_be_visible()
    assert harm(page) == []
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Command palette")
    with page.expect_response(re.compile("/vms/search")) as found:
        palette.get_by_role("combobox").fill(machine["name"])
    assert found.value.json() == {"results": []}
    expect(palette.get_by_role("status")).to_contain_text("Nothing found")
    assert harm(page) == []


def test_a_viewer_sees_a_machine_and_no_button_that_changes_it(enter, machine):
    page = enter("dana").page
    page.goto(f"/vms/{machine['id']}/")
    expect(pill(page)).to_have_text("Running")
    expect(page.locator("#about")).to_contain_text("micro")
    for label in ("Stop", "Start", "Reboot", "More", "Open console", "Delete", "Force off"):
        expect(page.locator("main").get_by_text(label, exact=True)).to_have_count(0)
    expect(page.locator("main [formaction], main a[data-dialog]")).to_have_count(0)
    page.goto("/vms/?project=harbor")
    row = page.locator(f"#row-{machine['id']}")
    expect(row).to_contain_text("Running")
    expect(row.locator("[formaction], [data-dialog], [data-key=o]")).to_have_count(0)
    page.goto("/vms/new")
    expect(page.get_by_label("Project").get_by_role("option")).to_have_text(["dana"])


def test_a_viewer_who_types_the_address_is_told_no_in_words(enter, machine):
    window = enter("dana")
    window.allow("status of 403")
    assert window.page.goto(f"/vms/{machine['id']}/delete").status == 403
    expect(window.page.get_by_role("main")).to_contain_text("Your role in this project is too small")


# --- quotas ---------------------------------------------------------------------------------------------------
@pytest.fixture
def charlies(api):
    """Charlie's own project; its limits are put back."""
    mine = api("charlie").call("GET", "me")["projects"][0]
    yield mine
    api("admin").call("PUT", f"projects/{mine['id']}/quota", {"limits": mine["limits"]})


def test_staff_set_a_limit_and_the_form_refuses_with_figures(enter, charlies):
    desk = enter("admin").page
    desk.goto("/admin-desk/people/?q=charlie")
    desk.get_by_role("link", name="charlie").first.click()
    desk.get_by_role("link", name="Set limits").click()
    desk.get_by_role("spinbutton", name="Memory (MiB)", exact=True).fill("1024")
    desk.get_by_role("button", name="See what it does").click()
    expect(desk.get_by_role("main")).to_contain_text("Nothing has been changed yet")
    assert harm(desk) == []
    desk.get_by_role("button", name="Set these limits").click()
    expect(desk.locator(".sw-toast")).to_contain_text("Limits of charlie set.")

    window = enter("charlie")
    page = window.page
    page.goto("/vms/new")
    name = f"toolarge-{secrets.token_hex(3)}"
    page.get_by_label("Name", exact=True).fill(name)
    expect(page.locator("#fits")).to_be_visible()
    page.get_by_role("radio", name="large").check(force=True)
    preview = page.locator("#refusal")
    expect(preview).to_contain_text("Memory: charlie may use 1 GiB and uses 0")
    page.get_by_role("button", name="Create machine").click()
    refusal = page.locator("#refused")
    expect(refusal).to_contain_text("It was not created")
    expect(refusal).to_contain_text("needs 2\N{NO-BREAK SPACE}GiB, so 1\N{NO-BREAK SPACE}GiB are missing")
    expect(page.get_by_label("Name", exact=True)).to_have_value(name)  # what was typed is kept
    expect(page.get_by_role("radio", name="large")).to_be_checked()
    assert harm(page) == []


# --- tokens ---------------------------------------------------------------------------------------------------
def test_a_token_made_on_the_page_works_until_it_is_revoked_there(alice, live):
    name = f"script-{secrets.token_hex(3)}"
    alice.goto("/accounts/tokens")
    alice.get_by_label("Name", exact=True).fill(name)
    alice.get_by_role("button", name="Make token").click()
    secret = alice.locator("#secret code").text_content()
    assert harm(alice) == []

    def me():
        return httpx.get(f"{live.url}/api/v1/me", headers={"Authorization": f"Bearer {secret}"}, timeout=30)

    assert me().json()["user"]["username"] == "alice"
    alice.goto("/accounts/tokens")
    assert secret not in alice.content(), "shown once"
    alice.get_by_role("link", name=f"Revoke {name}").click()
    alice.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(alice.get_by_role("link", name=f"Revoke {name}")).to_have_count(0)
    assert me().status_code == 401


# --- the desk -------------------------------------------------------------------------------------------------
def test_the_desk_shows_what_staff_need(enter, machine):
    page = enter("admin").page
    page.goto("/admin-desk/")
    expect(page.get_by_role("navigation", name="Desk")).to_be_visible()
    page.get_by_role("link", name="All machines").first.click()
    page.get_by_role("searchbox").fill(machine["name"])
    page.keyboard.press("Enter")
    expect(page.locator(f"#row-{machine['id']}")).to_contain_text("harbor")
    expect(page.locator(f"#row-{machine['id']} [data-key=o]")).to_have_count(0)  # consoles are the members'
    page.goto("/admin-desk/nodes/")
    expect(page.get_by_role("main")).to_contain_text("running machines have")
    page.goto(f"/admin-desk/audit/?q={machine['name']}")
    expect(page.get_by_role("main")).to_contain_text("alice")
    page.goto("/admin-desk/operations/")
    expect(page.get_by_role("main")).to_contain_text(machine["name"])


def test_a_cordoned_node_takes_nothing_new_and_says_so(enter, api):
    node = api("admin").call("GET", "nodes")["items"][0]
    page = enter("admin").page
    try:
        page.goto("/admin-desk/nodes/")
        page.get_by_role("link", name="Cordon").click()
        page.get_by_role("dialog").get_by_label("Why").fill("a new disk")
        page.get_by_role("dialog").get_by_role("button", name="Cordon").click()
        expect(page.get_by_role("main")).to_contain_text("Takes no new machines")
        expect(page.get_by_role("main")).to_contain_text("a new disk")
        page.get_by_role("button", name="Let new machines in").click()
        expect(page.get_by_role("link", name="Cordon")).to_be_visible()
    finally:
        api("admin").call("POST", f"nodes/{node['id']}/uncordon", {})


def test_to_others_there_is_no_desk(enter):
    window = enter("alice")
    window.allow("status of 404")
    assert window.page.goto("/admin-desk/").status == 404
    window.page.goto("/")
    expect(window.page.get_by_role("navigation", name="Desk")).to_have_count(0)


# --- leaving --------------------------------------------------------------------------------------------------
def test_signing_out_ends_it(enter, live):
    window = enter()
    sign_in(window.page, "bob", live.passwords["bob"])
    window.page.get_by_label("Account: bob").click()
    window.page.get_by_role("button", name="Sign out").click()
    expect(window.page.get_by_role("heading", name="Sign in to Slipway")).to_be_visible()
    window.page.goto("/vms/")
    expect(window.page.get_by_role("heading", name="Sign in to Slipway")).to_be_visible()
