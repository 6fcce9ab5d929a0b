"""Bodies that are too large, not JSON, or not what a call takes: refused before anything is done."""

import json

import httpx
import pytest

from portal.asgi import application
from portal.body_limit import BodyLimit
from vms.models import VirtualMachine

MIB = 1024 * 1024
NEW = {"name": "web-1", "image": "micro", "flavor": "nano"}


def post(world, content, content_type="application/json"):
    return world.api("alice").post("/api/v1/vms", data=content, content_type=content_type)


def problem(response, status, code):
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    return body


@pytest.mark.parametrize(
    "content",
    [
        b"{", b"nonsense", b"\xff\xfe\x00", b'{"name": "web-1",}', b"{'name': 1}", b'{"name": "web-1"} trailing',
        b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b'"\x00"', b"\x00", b"<xml/>", b"name=web-1&image=micro",
    ],
)  # fmt: skip
def test_malformed_json_is_a_400(world, content):
    problem(post(world, content), 400, "malformed")


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'"text"', b"1", b"true", b"NaN"])
def test_what_is_no_object_is_a_422(world, content):
    body = problem(post(world, content), 422, "invalid")
    assert list(body["fields"]) == ["body"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"owner": "charlie"}, "owner"),
        ({"node": "node-2"}, "node"),
        ({"vcpus": 64}, "vcpus"),
        ({"id": "00000000-0000-0000-0000-000000000000"}, "id"),
        ({"domain_uuid": "x"}, "domain_uuid"),
        ({"is_staff": True}, "is_staff"),
        ({"quota": {"vms": 100}}, "quota"),
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ({"name": ["web"]}, "name"),
        ({"name": {"$ne": ""}}, "name"),
        ({"image": None}, "image"),
        ({"image": ""}, "image"),
        ({"image": "x" * 101}, "image"),
        ({"image": "no-such-image"}, "image"),
        ({"image": "micro\x00"}, "image"),
        ({"flavor": 7}, "flavor"),
        ({"flavor": "no-such-size"}, "flavor"),
        ({"project": 1}, "project"),
        ({"project": "\x00"}, "project"),
        ({"start": "yes"}, "start"),
        ({"start": 1}, "start"),
        ({"start": None}, "start"),
        ({"ssh_keys": "ssh-ed25519 AAAA"}, "ssh_keys"),
        ({"ssh_keys": ["not a key"]}, "ssh_keys"),
        ({"ssh_keys": [1]}, "ssh_keys.0"),
        ({"ssh_keys": ["ssh-ed25519 AAAA\nssh-rsa"]}, "ssh_keys"),
        ({"ssh_keys": ['command="id" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5']}, "ssh_keys"),
        ({"password": "x" * 73}, "password"),
        ({"password": "12345"}, "password"),
        ({"password": "secret\x001"}, "password"),
        ({"user_data": "x" * 65537}, "user_data"),
        ({"user_data": "é" * 40000}, "user_data"),
        ({"user_data": "#!/bin/sh\x00"}, "user_data"),
        ({"description": "x" * 501}, "description"),
        ({"description": "bell\x07"}, "description"),
        ({"description": 1.5}, "description"),
    ],
)
def test_a_field_that_is_wrong_is_named_and_nothing_is_made(world, change, field):
    body = problem(world.api("alice").call("POST", "vms", NEW | change), 422, "invalid")
    assert list(body["fields"]) == [field]
    assert all(isinstance(sentence, str) and sentence for sentence in body["fields"][field])
    assert not VirtualMachine.objects.exists()


@pytest.mark.parametrize(
    "name",
    [
        "", "Web", "1web", "-web", "web-", "web_1", "web.1", "a" * 64, "../etc/passwd", "..", "/", "web\n", "web\x00",
        "w b", "wéb", "🐳", "<b>web</b>", "<img src=x onerror=alert(1)>", "]]>", "&amp;", "web;rm -rf /", "${IFS}",
        "$(id)", "`id`", "a\u202eb", "web\r", "%2e%2e", "'; DROP TABLE vms; --", "CON", "\u0430bc", "a\u0000",
    ],
)  # fmt: skip
def test_names_that_are_no_host_names_are_refused(world, name):
    api = world.api("alice")
    assert "name" in problem(api.call("POST", "vms", NEW | {"name": name}), 422, "invalid")["fields"]
    vm = world.vm(drain=False)
    assert "name" in problem(api.call("PATCH", f"vms/{vm.pk}", {"name": name}), 422, "invalid")["fields"]


def test_half_a_character_is_not_text(world):
    body = problem(post(world, b'{"name": "web-1", "image": "\\ud800", "flavor": "nano"}'), 422, "invalid")
    assert list(body["fields"]) == ["image"]
    body = problem(post(world, json.dumps(NEW | {"user_data": "\ud800"}).encode()), 422, "invalid")
    assert list(body["fields"]) == ["user_data"]


def test_all_wrong_fields_are_said_at_once(world):
    body = problem(world.api("alice").call("POST", "vms", {"nmae": "web-1", "start": 1}), 422, "invalid")
    assert set(body["fields"]) == {"name", "image", "flavor", "nmae", "start"}


def test_user_data_of_exactly_64_kib_is_taken(world):
    assert world.api("alice").call("POST", "vms", NEW | {"user_data": "x" * 65536}).status_code == 202


def test_a_body_of_10_mib_is_a_413(world):
    problem(post(world, b" " * 10 * MIB), 413, "body_too_large")


async def _chunks(count):
    for _n in range(count):
        yield b" " * 65536


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b" " * 10 * MIB, {}),
        (_chunks(160), {"Transfer-Encoding": "chunked"}),
        (b"{}", {"Content-Length": str(10 * MIB)}),
        (b"{}", {"Content-Length": "1e3"}),
    ],
    ids=["declared", "chunked", "announced", "no number"],
)
async def test_asgi_refuses_a_large_body_before_django_stores_it(content, headers):
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        response = await client.post("/api/v1/vms", content=content, headers=headers)
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["connection"] == "close"
    assert response.json()["code"] == "body_too_large"


async def test_asgi_reads_no_more_than_the_limit(settings):
    """A body without end is cut off at the limit, whatever the application does with it."""
    given = 0

    async def receive():
        nonlocal given
        given += 65536
        return {"type": "http.request", "body": b" " * 65536, "more_body": True}

    async def greedy(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.start", "status": 200})

    sent = []

    async def send(message):
        sent.append(message)

    await BodyLimit(greedy)({"type": "http", "headers": []}, receive, send)
    assert [message.get("status") for message in sent] == [413, None]
    assert given <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 65536
