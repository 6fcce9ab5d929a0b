"""Console tickets, screenshots, and ids that are none."""

import io

import pytest
from PIL import Image

from tests.portal.answers import ok, refused
from vms import gateway_client
from vms.models import Operation


@pytest.fixture
def alice(world):
    return world.api("alice")


def test_a_console_ticket(world, alice):
    vm = world.vm()
    response = alice.call("POST", f"vms/{vm.pk}/console", {"kind": "serial"})
    ticket = ok(response, 201)
    assert set(ticket) == {"url", "ticket", "protocols", "expires_at"}
    assert ticket["protocols"] == ["slipway.v1", f"ticket.{ticket['ticket']}"]
    assert ticket["ticket"] not in ticket["url"]
    assert ticket["url"].startswith("ws")
    assert response["Cache-Control"] == "no-store"
    for kind in ("spice", "", None, 1):
        assert list(refused(alice.call("POST", f"vms/{vm.pk}/console", {"kind": kind}), 422, "invalid")["fields"])
    off = world.vm("web-2", start=False)
    refused(alice.call("POST", f"vms/{off.pk}/console", {"kind": "vnc"}), 409, "invalid_state")


def picture(width=720, height=400):
    out = io.BytesIO()
    Image.effect_noise((width, height), 50).convert("RGB").save(out, "PNG")
    return out.getvalue()


def test_a_screenshot_is_a_png_that_can_be_scaled_and_asked_for_again(world, alice, monkeypatch):
    shown = picture()
    monkeypatch.setattr(gateway_client, "_fetch", lambda node, path: shown)
    vm = world.vm()
    response = alice.call("GET", f"vms/{vm.pk}/screenshot")
    assert (response.status_code, response["Content-Type"], response.content) == (200, "image/png", shown)
    assert response["Cache-Control"] == "private, no-cache"
    again = alice.call("GET", f"vms/{vm.pk}/screenshot", headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    small = alice.call("GET", f"vms/{vm.pk}/screenshot?width=320")
    assert Image.open(io.BytesIO(small.content)).size == (320, 178)
    assert small["ETag"] != response["ETag"]
    assert alice.call("GET", f"vms/{vm.pk}/screenshot?width=2000").content == shown
    refused(alice.call("GET", f"vms/{vm.pk}/screenshot?width=1"), 422, "invalid")
    off = world.vm("web-2", start=False)
    refused(alice.call("GET", f"vms/{off.pk}/screenshot"), 409, "invalid_state")


def test_ids_that_are_none_are_404s(world, alice):
    vm = world.vm()
    wanted = alice.call("GET", "vms/b3e2a4a0-3f7f-4d6a-9a4e-0d6f2f9d5a11").content
    for bad in ("x", "0", "%00", "-1", "..%2f..", "vms", f"{vm.pk}x", "1" * 300, "%F0%9F%90%B3"):
        response = alice.call("GET", f"vms/{bad}")
        assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")
        if "%2f" not in bad:
            assert response.content == wanted
    assert Operation.objects.count() == 1
