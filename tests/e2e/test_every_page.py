"""Every page, in light English on a desk and in dark French on a phone: it loads cleanly, fits, and harms nobody.

The pages are those of the URL table: a new one without a line here fails.
"""

from functools import cache

import pytest
from django.urls import get_resolver, reverse

from tests.e2e.browsing import BOOT_MS, harm, sideways
from tests.live import wait_for

LOOKS = {
    "light": {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}},
    "dark": {"locale": "fr-FR", "viewport": {"width": 360, "height": 740}, "has_touch": True},
}
# name of the page: (who looks, which ids its address bears)
PAGES = {
    "home": ("alice", []),
    "quotas": ("alice", []),
    "api-docs": ("alice", []),
    "vms:list": ("alice", []),
    "vms:new": ("alice", []),
    "vms:detail": ("alice", ["vm"]),
    "vms:console": ("alice", ["vm"]),
    "vms:bulk-delete": ("alice", []),
    "vms:force-off": ("alice", ["vm"]),
    "vms:delete": ("alice", ["vm"]),
    "vms:edit": ("alice", ["vm"]),
    "vms:resize": ("alice", ["vm"]),
    "operation": ("alice", ["operation"]),
    "sandboxes:list": ("alice", []),
    "sandboxes:templates": ("admin", []),
    "sandboxes:new-template": ("alice", []),
    "sandboxes:template": ("admin", ["template"]),
    "sandboxes:retire": ("admin", ["template"]),
    "sandboxes:detail": ("alice", ["box"]),
    "sandboxes:reset": ("alice", ["box"]),
    "sandboxes:keep": ("alice", ["box"]),
    "sandboxes:delete": ("alice", ["box"]),
    "sandboxes:isolation": ("alice", ["box"]),
    "sandboxes:run": ("alice", ["run"]),
    "accounts:login": ("", []),
    "accounts:password": ("alice", []),
    "accounts:tokens": ("alice", []),
    "accounts:revoke": ("alice", ["token"]),
    "accounts:projects": ("alice", []),
    "accounts:project": ("alice", ["project"]),
    "accounts:remove-member": ("alice", ["project", "bob"]),
    "desk:home": ("admin", []),
    "desk:people": ("admin", []),
    "desk:new-person": ("admin", []),
    "desk:person": ("admin", ["bob"]),
    "desk:shut-out": ("admin", ["bob"]),
    "desk:projects": ("admin", []),
    "desk:new-project": ("admin", []),
    "desk:limits": ("admin", ["project"]),
    "desk:machines": ("admin", []),
    "desk:operations": ("admin", []),
    "desk:nodes": ("admin", []),
    "desk:cordon": ("admin", ["node"]),
    "desk:capacity": ("admin", []),
    "desk:audit": ("admin", []),
}
# answers to scripts and programs, or to a POST alone
NO_PAGES = {
    "vms:search", "vms:bulk", "vms:cancel", "vms:power", "vms:again", "accounts:logout", "accounts:preferences",
    "accounts:set-role", "desk:let-in", "desk:uncordon", "set_language", "healthz", "healthz-part", "metrics",
    "sandboxes:new", "sandboxes:prepare", "sandboxes:pool", "sandboxes:build-screen", "sandboxes:act",
    "sandboxes:start-run", "sandboxes:kill", "sandboxes:folder",
    "accounts:signup",  # switched off here: what it shows then is the page of 404
}  # fmt: skip
# the same pages as they look with something chosen
VIEWS = {
    "vms:list": ["?view=cards", "?filter=off&view=table", "?q=nothing-like-this"],
    "vms:console": ["?kind=serial"],
    "quotas": ["?project=harbor"],
}


def named(patterns, prefix=""):
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            below = f"{pattern.namespace}:" if pattern.namespace else ""
            yield from named(pattern.url_patterns, prefix + below)
        elif pattern.name:
            yield prefix + pattern.name


def test_every_address_of_the_portal_has_its_line():
    found = {name for name in named(get_resolver().url_patterns) if not name.startswith("api:")}
    assert found == set(PAGES) | NO_PAGES


@pytest.fixture(scope="module")
def ids(api, machine):
    token = api("alice").call("POST", "tokens", {"name": "for-the-page"})["token"]
    made = api("alice").call("POST", "sandboxes", {"template": "micro", "project": "harbor"})
    box = made["sandbox"]["vm"]["id"]
    run = api("alice").call("POST", f"sandboxes/{box}/runs", {"command": "echo hello"})
    wait_for(
        lambda: api("alice").call("GET", f"runs/{run['id']}")["finished_at"], BOOT_MS / 1000, "a run has not ended"
    )
    yield {
        "box": box,
        "run": run["id"],
        "template": made["sandbox"]["template"]["id"],
        "vm": machine["id"],
        "operation": api("alice").call("GET", f"vms/{machine['id']}/operations")["items"][0]["id"],
        "project": machine["project"]["id"],
        "token": token["id"],
        "bob": api("bob").call("GET", "me")["user"]["id"],
        "node": api("admin").call("GET", "nodes")["items"][0]["id"],
    }
    api("alice").call("DELETE", f"tokens/{token['id']}")
    api("alice").call("DELETE", f"sandboxes/{box}")


@pytest.fixture(scope="module")
def window_of(enter_to_stay, live):
    """Return someone's window in a look; each is opened once."""

    @cache
    def window(who, look):
        opened = enter_to_stay(who, **LOOKS[look])
        opened.context.add_cookies([{"name": "theme", "value": look, "url": live.url}])
        return opened

    return window


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    ("name", "query"), [(name, query) for name in PAGES for query in ["", *VIEWS.get(name, [])]], ids="".join
)
def test_a_page(window_of, ids, request, name, query, look):
    who, wanted = PAGES[name]
    window = window_of(who, look)
    request.node.windows = [window]
    address = reverse(name, args=[ids[one] for one in wanted]) + query
    response = window.page.goto(address)
    assert response.status == 200
    if name == "vms:console":
        window.page.locator("[data-link=yes]").wait_for()
    root = window.page.locator("html")
    assert root.get_attribute("lang") == LOOKS[look]["locale"][:2]
    assert root.get_attribute("data-bs-theme") == look
    assert window.page.get_by_role("heading", level=1).count() == 1
    assert harm(window.page) == []
    assert sideways(window.page) == []
    assert window.complaints() == []


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("address", ["/no-such-page", "/accounts/signup"])
def test_the_page_of_what_is_not_there(enter, live, look, address):
    window = enter("alice", **LOOKS[look])
    window.allow("status of 404")
    window.context.add_cookies([{"name": "theme", "value": look, "url": live.url}])
    assert window.page.goto(address).status == 404
    assert harm(window.page) == []
    assert sideways(window.page) == []
