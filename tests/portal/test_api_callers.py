"""Who calls: tokens, sessions, and those who may no longer."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import ApiToken, User
from vms.models import IdempotencyRecord

NEW = {"name": "web-1", "image": "micro", "flavor": "nano", "project": "harbor"}


def key(text):
    return {"Idempotency-Key": text}


@pytest.mark.parametrize(
    "header",
    [
        "Bearer", "Bearer ", "Bearer nonsense", "Bearer slw_", "Bearer slw_" + "x" * 43, "Basic YWxpY2U6eA==",
        "slw_abc", "Bearer slw_é", "bearer\tx", "Bearer " + "x" * 8000,
    ],
)  # fmt: skip
def test_a_wrong_token_is_a_401_even_beside_a_good_session(world, header):
    client = world.browser("alice")
    response = client.get("/api/v1/me", headers={"Authorization": header})
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
    assert response["WWW-Authenticate"] == "Bearer"


def test_nobody_gets_a_401_with_the_way_in(world):
    for method, path in (("GET", "me"), ("POST", "vms"), ("DELETE", "vms/x"), ("GET", "events")):
        response = world.api().call(method, path)
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == "Bearer"
        assert response["Content-Type"] == "application/problem+json"


def test_tokens_end_when_they_expire_are_revoked_or_their_owner_is_shut_out_a21(world):
    clients = {name: world.api("bob") for name in ("expired", "revoked", "shut out")}
    tokens = list(ApiToken.objects.filter(user=world.bob).order_by("created_at"))
    assert all(client.call("GET", "me").status_code == 200 for client in clients.values())
    ApiToken.objects.filter(pk=tokens[0].pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    ApiToken.objects.filter(pk=tokens[1].pk).update(revoked_at=timezone.now())
    User.objects.filter(pk=world.bob.pk).update(is_active=False)
    assert [client.call("GET", "me").status_code for client in clients.values()] == [401, 401, 401]


def test_a_session_of_someone_shut_out_is_nobody_a21(world):
    client = world.browser("bob")
    assert client.call("GET", "me").status_code == 200
    User.objects.filter(pk=world.bob.pk).update(is_active=False)
    assert client.call("GET", "me").status_code == 401


def test_a_read_token_reads_and_does_nothing_else(world):
    vm = world.vm()
    reader = type(world.api())(world.token("alice", scope="read"))
    assert reader.call("GET", f"vms/{vm.pk}").status_code == 200
    for method, path, body in (
        ("POST", "vms", NEW),
        ("POST", f"vms/{vm.pk}/stop", None),
        ("PATCH", f"vms/{vm.pk}", {"name": "x"}),
        ("DELETE", f"vms/{vm.pk}", None),
        ("POST", f"vms/{vm.pk}/console", {"kind": "vnc"}),
        ("POST", "tokens", {"name": "more"}),
        ("PUT", "projects/harbor/quota", {}),
    ):
        response = reader.call(method, path, body, headers=key("k"))
        assert (response.status_code, response.json()["code"]) == (403, "read_only_token")
    assert not IdempotencyRecord.objects.exists()


def test_a_session_needs_its_csrf_token_and_a_bearer_token_does_not_a22(world):
    vm = world.vm()
    browser = world.browser("alice", enforce_csrf_checks=True)
    response = browser.call("POST", f"vms/{vm.pk}/stop")
    assert (response.status_code, response.json()["code"]) == (403, "csrf")
    assert browser.call("GET", f"vms/{vm.pk}").status_code == 200
    html = browser.get("/").content.decode()
    token = html.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    assert browser.call("POST", f"vms/{vm.pk}/stop", headers={"X-CSRFToken": token}).status_code == 202
    bearer = type(browser)(world.token("alice"), enforce_csrf_checks=True)
    assert bearer.call("POST", f"vms/{vm.pk}/force-off").status_code == 202


def test_tokens_are_made_shown_once_and_revoked(world):
    alice = world.api("alice")
    in_an_hour = (timezone.now() + timedelta(hours=1)).isoformat()
    response = alice.call("POST", "tokens", {"name": "ci", "scope": "read", "expires_at": in_an_hour})
    made = response.json()
    assert (response.status_code, response["Cache-Control"]) == (201, "no-store")
    assert made["secret"].endswith(made["token"]["hint"])
    assert made["secret"] not in alice.call("GET", "tokens").content.decode()
    assert type(alice)(made["secret"]).call("GET", "me").status_code == 200
    assert world.api("bob").call("DELETE", f"tokens/{made['token']['id']}").status_code == 404
    assert alice.call("DELETE", f"tokens/{made['token']['id']}").status_code == 204
    assert type(alice)(made["secret"]).call("GET", "me").status_code == 401
    assert alice.call("DELETE", f"tokens/{made['token']['id']}").status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"scope": "admin"}, "scope"),
        ({"scope": 1}, "scope"),
        ({"expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"user": "admin"}, "user"),
    ],
)
def test_a_token_that_cannot_be_made(world, change, field):
    response = world.api("alice").call("POST", "tokens", {"name": "ci"} | change)
    assert (response.status_code, list(response.json()["fields"])) == (422, [field])
    assert ApiToken.objects.count() == 1
