"""Parts of the portal go away and come back while pages are open: nothing lies, nothing needs a reload."""

import contextlib
import os
import signal
import socket
import subprocess
import time

import httpx
import libvirt
import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import document_stayed, harm, mark_document, pill
from tests.live import ROOT, wait_for

BACK_MS = 60_000  # a process starts in seconds, on a busy machine in tens of them
RECONNECT_SECONDS = 5  # from when the gateway listens again, on top of what opening a console takes here


@pytest.fixture
def supervisor(live):
    """Return what controls this installation's own processes: `supervisor("stop", "web")`."""

    def control(verb, program):
        command = [
            ROOT / "var/venv/bin/supervisorctl",
            "-c",
            live.var / "run/supervisord.conf",
            verb,
            f"slipway:{program}",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    return control


@pytest.fixture
def web(supervisor):
    """The web process, which a test may stop; it runs again afterwards."""
    yield lambda verb: supervisor(verb, "web")
    if "RUNNING" not in supervisor("status", "web"):
        supervisor("start", "web")


@pytest.fixture
def domain(host, machine):
    found = host.lookupByUUIDString(machine["domain_uuid"])
    yield found
    if found.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
        found.resume()


def test_a_page_says_that_it_is_not_connected_and_reads_again_when_it_is(enter, machine, web, domain):
    window = enter("alice")
    window.allow("ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_SOCKET_NOT_CONNECTED")
    page = window.page
    page.goto(f"/vms/{machine['id']}/")
    expect(page.locator("[data-online=yes]")).to_be_visible()
    mark_document(page)
    web("stop")
    banner = page.locator("#lost")
    expect(banner).to_contain_text("Not connected")
    expect(banner).to_contain_text("Your machines are not affected")
    expect(page.locator("[data-online=no]").first).to_be_visible()
    assert harm(page) == []
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".sw-toast")).to_contain_text("Acts wait until we are back")
    expect(pill(page)).to_have_text("Running")
    domain.suspend()  # nobody can tell the page
    web("start")
    page.get_by_role("button", name="Try now").click()
    expect(banner).to_be_hidden(timeout=BACK_MS)
    expect(pill(page)).to_have_text("Paused")
    domain.resume()
    expect(pill(page)).to_have_text("Running")
    assert document_stayed(page)


def test_what_virsh_does_is_on_the_page_without_a_reload_F16(alice, machine, domain):
    alice.goto(f"/vms/{machine['id']}/")
    expect(alice.locator("[data-online=yes]")).to_be_visible()
    mark_document(alice)
    domain.suspend()
    expect(pill(alice)).to_have_text("Paused")
    domain.resume()
    expect(pill(alice)).to_have_text("Running")
    assert document_stayed(alice)


def listens(live):
    """Does the gateway take connections?"""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", httpx.URL(live.url).port + 1), timeout=5).close()
        return True
    return False


@pytest.mark.parametrize("kind", ["vnc", "serial"])
def test_a_console_comes_back_after_the_gateway_was_killed_F14(enter, live, machine, supervisor, kind):
    window = enter("alice")
    window.allow("WebSocket connection to .* failed|ERR_CONNECTION_REFUSED|rfb.mjs")
    page = window.page
    began = time.monotonic()
    page.goto(f"/vms/{machine['id']}/console?kind={kind}")
    connected = page.locator("[data-link=yes]")
    expect(connected).to_be_visible()
    usual = time.monotonic() - began
    mark_document(page)
    os.kill(int(supervisor("pid", "gateway")), signal.SIGKILL)
    lost = page.locator("[data-over=lost]")
    expect(lost).to_be_visible()
    expect(lost).to_contain_text("The machine keeps running")
    assert harm(page) == []
    wait_for(lambda: listens(live), BACK_MS / 1000, "the gateway is not started again")
    expect(connected).to_be_visible(timeout=1000 * (RECONNECT_SECONDS + usual))
    expect(lost).to_be_hidden()
    assert document_stayed(page)
