"""Ends of sandboxes and templates on real guests: a lease that ends under an open console, a script that fails."""

import base64
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.live import Api, Live, wait_for
from tests.rfb import open_console

pytestmark = pytest.mark.timeout(600)
CUT_SECONDS = 60  # beat looks at leases every few seconds, the gateway at consoles every five
NOT_RUNNING = 4409
PNG = b"\x89PNG\r\n"


@pytest.fixture
def box(live: Live, alice: Api) -> Iterator[dict[str, Any]]:
    """A running sandbox of micro with a lease of an hour."""
    template = wait_for(lambda: ready(alice), 300, "no template of micro is prepared")
    body = {"template": template, "project": "harbor", "name": f"box-{secrets.token_hex(3)}", "lease_minutes": 60}
    answer = alice.call("POST", "sandboxes", body, status=202)
    assert alice.finished(answer["operation"])["status"] == "succeeded"
    yield alice.call("GET", f"sandboxes/{answer['sandbox']['id']}")
    left = alice.http.delete(f"sandboxes/{answer['sandbox']['id']}")
    if left.status_code == 202:
        assert alice.finished(left.json()["operation"])["status"] == "succeeded"


def ready(api: Api) -> str:
    """The name of a template of micro that clones can be made of; "" while there is none."""
    found = [one for one in api.call("GET", "templates")["items"] if one["image"]["name"] == "micro"]
    return next((str(one["name"]) for one in found if any(build["fits"] for build in one["builds"])), "")


def closed_with(console: ClientConnection) -> int:
    """Read until the other side closes; return its code."""
    try:
        while True:
            console.recv(timeout=CUT_SECONDS)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


def test_a_lease_that_ends_cuts_an_open_console_and_everything_is_there_when_it_is_taken_back(live, alice, box):
    assert alice.run(box["id"], "echo kept >/tmp/mark && sync")["exit_code"] == 0
    with open_console(alice.call("POST", f"vms/{box['id']}/console", {"kind": "serial"}, status=201)) as console:
        console.send(b"\r")
        assert console.recv(timeout=30)
        live.manage(
            "shell", "--no-imports", "-c",
            "from datetime import timedelta; from django.db.models.functions import Now;"
            "from sandboxes.models import Sandbox;"
            f"Sandbox.objects.filter(vm='{box['id']}').update(expires_at=Now() - timedelta(seconds=1))",
        )  # fmt: skip
        assert closed_with(console) == NOT_RUNNING
    lease = alice.call("GET", f"sandboxes/{box['id']}")["lease"]
    assert (lease["status"], bool(lease["ended_at"]), bool(lease["grace_until"])) == ("ended", True, True)
    wait_for(lambda: alice.call("GET", f"vms/{box['id']}")["observed_state"] == "suspended", 60, "it is not on disk")
    assert alice.http.post(f"vms/{box['id']}/console", json={"kind": "serial"}).json()["code"] == "invalid_state"
    answer = alice.call("POST", f"sandboxes/{box['id']}/restore", {}, status=202)
    assert alice.finished(answer["operation"])["status"] == "succeeded"
    assert alice.run(box["id"], "grep -qx kept /tmp/mark")["exit_code"] == 0, "its memory and disk are what they were"
    with open_console(alice.call("POST", f"vms/{box['id']}/console", {"kind": "serial"}, status=201)) as console:
        console.send(b"\r")
        assert console.recv(timeout=30)


def test_a_ready_script_that_fails_is_told_with_its_output_and_the_screen_and_sandboxes_boot(live, alice):
    with live.api("admin") as admin:
        body = {
            "name": f"fails-{secrets.token_hex(3)}", "image": "micro", "flavor": "nano",
            "ready_script": "#!/bin/sh\necho fetching >&2\nexit 7\n",
        }  # fmt: skip
        template = admin.call("POST", "templates", body, status=201)
        try:
            [operation] = admin.call("POST", f"templates/{template['id']}/prepare", status=202)["operations"]
            ended = admin.finished(operation, 240)
            assert (ended["status"], ended["error"]["code"]) == ("failed", "ready_script_failed")
            assert "exit code 7" in ended["error"]["detail"]
            [build] = admin.call("GET", f"templates/{template['id']}")["builds"]
            assert (build["status"], build["fits"], build["reason"]) == ("failed", False, "ready_script_failed")
            assert "fetching" in build["output"]
            screen = live.manage(
                "shell", "--no-imports", "-c",
                "import base64; from sandboxes.models import TemplateBuild;"
                f"build = TemplateBuild.objects.get(template='{template['id']}');"
                "print(base64.b64encode(bytes(build.screenshot)).decode())",
            ).stdout.splitlines()[-1]  # fmt: skip
            assert base64.b64decode(screen).startswith(PNG)
            answer = alice.call("POST", "sandboxes", {"template": template["name"], "project": "harbor"}, status=202)
            assert answer["operation"]["kind"] == "create"
            assert answer["sandbox"]["plain_reason"]
            assert alice.finished(answer["operation"], 240)["status"] == "succeeded"
            deleted = alice.call("DELETE", f"sandboxes/{answer['sandbox']['id']}", status=202)
            assert alice.finished(deleted["operation"])["status"] == "succeeded"
        finally:
            admin.http.delete(f"templates/{template['id']}")
