"""Clones that waited in the warm pool: one becomes somebody's sandbox, the next one takes its place at a reset."""

import secrets
import socket
from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

from tests.live import Api, Live, wait_for

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def template(live: Live) -> Iterator[dict[str, Any]]:
    """A template of everybody's for which one clone waits."""
    with live.api("admin") as admin:
        name = f"pool-{secrets.token_hex(3)}"
        body = {"name": name, "image": "micro", "flavor": "nano", "pool_size": 1}
        made = admin.call("POST", "templates", body, status=201)
        try:
            for operation in admin.call("POST", f"templates/{made['id']}/prepare", status=202)["operations"]:
                assert admin.finished(operation)["status"] == "succeeded"
            yield made
        finally:
            admin.http.delete(f"templates/{made['id']}")


def claimed(live: Live, api: Api, template: dict[str, Any]) -> dict[str, Any]:
    """Make a sandbox of a clone that waits."""
    live.await_spare(template["id"])
    body = {"template": template["id"], "project": "harbor", "name": f"box-{secrets.token_hex(3)}"}
    answer = api.call("POST", "sandboxes", body, status=202)
    operation = api.finished(answer["operation"])
    assert (operation["kind"], operation["status"]) == ("claim", "succeeded")
    found: dict[str, Any] = api.call("GET", f"sandboxes/{answer['sandbox']['id']}")
    return found


def said(api: Api, box: dict[str, Any], command: str) -> str:
    ended = api.run(box["id"], command)
    assert ended["exit_code"] == 0, (ended["status"], ended["error"])
    text: str = api.http.get(f"runs/{ended['id']}/output", params={"stream": "stdout"}).text
    return text


def greeting(address: str) -> bytes:
    """What the SSH server at an address says first."""
    try:
        with socket.create_connection((address, 22), timeout=5) as channel:
            return channel.recv(64)
    except OSError:
        return b""


def test_a_claimed_clone_has_its_name_for_good_and_a_reset_exchanges_it_for_the_next_one(live, alice, template, host):
    box = claimed(live, alice, template)
    try:
        [address], first = box["ip_addresses"], box["vm"]["domain_uuid"]
        assert said(alice, box, "hostname").strip() == box["name"]
        alice.do(box["id"], "reboot")
        assert said(alice, box, "hostname; cat /etc/hostname").split() == [box["name"], box["name"]]
        said(alice, box, "touch mark")
        wait_for(lambda: greeting(address).startswith(b"SSH-2.0-"), 30, "its address does not lead to it")

        waiting = live.await_spare(template["id"])
        operation = alice.call("POST", f"sandboxes/{box['id']}/reset", {}, status=202)["operation"]
        assert alice.finished(operation)["status"] == "succeeded"
        after = alice.call("GET", f"sandboxes/{box['id']}")
        assert after["vm"]["domain_uuid"] == waiting
        assert (after["name"], after["ip_addresses"]) == (box["name"], [address])
        assert said(alice, box, "hostname; ls").split() == [box["name"]]
        assert f" {address}/" in said(alice, box, "ip -4 address")
        wait_for(lambda: greeting(address).startswith(b"SSH-2.0-"), 30, "its address leads to the old one")
        wait_for(lambda: first not in known(host), 60, "the old domain is still there")
    finally:
        alice.http.delete(f"sandboxes/{box['id']}")


def known(host: libvirt.virConnect) -> set[str]:
    return {domain.UUIDString() for domain in host.listAllDomains()}
