"""Calls that are repeated with an Idempotency-Key."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import AuditEntry
from vms import idempotency
from vms.models import IdempotencyRecord, Operation, VirtualMachine

NEW = {"name": "web-1", "image": "micro", "flavor": "nano", "project": "harbor"}


def key(text):
    return {"Idempotency-Key": text}


def said(response):
    return response.status_code, response.content


def test_the_same_key_and_body_get_the_same_answer_and_one_machine(world):
    alice = world.api("alice")
    first = alice.call("POST", "vms", NEW, headers=key("k1"))
    world.drain()
    again = alice.call("POST", "vms", NEW, headers=key("k1"))
    assert said(again) == said(first)
    assert again["Content-Type"] == first["Content-Type"]
    assert again["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    assert VirtualMachine.objects.count() == 1
    assert Operation.objects.count() == 1


def test_a_key_works_on_every_post_that_takes_one(world):
    vm = world.vm()
    alice = world.api("alice")
    stop = alice.call("POST", f"vms/{vm.pk}/stop", headers=key("k"))
    world.drain()
    assert said(alice.call("POST", f"vms/{vm.pk}/stop", headers=key("k"))) == said(stop)
    cancel = alice.call("POST", f"operations/{stop.json()['operation']['id']}/cancel", headers=key("c"))
    assert cancel.status_code == 409
    repeated = alice.call("POST", f"operations/{stop.json()['operation']['id']}/cancel", headers=key("c"))
    assert said(repeated) == said(cancel)
    assert repeated["Content-Type"] == "application/problem+json"
    member = {"username": "charlie", "role": "viewer"}
    added = alice.call("POST", "projects/harbor/members", member, headers=key("m"))
    assert said(alice.call("POST", "projects/harbor/members", member, headers=key("m"))) == said(added)
    assert AuditEntry.objects.filter(action="project.set_member").count() == 1


@pytest.mark.parametrize("other", [NEW | {"name": "web-2"}, {}, None])
def test_the_key_with_another_body_is_a_422(world, other):
    alice = world.api("alice")
    alice.call("POST", "vms", NEW, headers=key("k"))
    response = alice.call("POST", "vms", other, headers=key("k"))
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert VirtualMachine.objects.count() == 1


def test_the_key_at_another_address_is_a_422(world):
    one, two = world.vm("web-1"), world.vm("web-2")
    alice = world.api("alice")
    assert alice.call("POST", f"vms/{one.pk}/stop", headers=key("k")).status_code == 202
    assert alice.call("POST", f"vms/{two.pk}/stop", headers=key("k")).status_code == 422


def test_keys_are_each_users_own(world):
    assert world.api("alice").call("POST", "vms", NEW, headers=key("k")).status_code == 202
    response = world.api("bob").call("POST", "vms", NEW | {"name": "web-2"}, headers=key("k"))
    assert response.status_code == 202


def test_a_refusal_is_repeated_too(world):
    alice = world.api("alice")
    wrong = alice.call("POST", "vms", NEW | {"image": "nope"}, headers=key("k"))
    assert wrong.status_code == 422
    assert said(alice.call("POST", "vms", NEW | {"image": "nope"}, headers=key("k"))) == said(wrong)


def test_an_answer_is_kept_for_24_hours(world):
    alice = world.api("alice")
    alice.call("POST", "vms", NEW, headers=key("k"))
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=23, minutes=59))
    assert alice.call("POST", "vms", NEW, headers=key("k"))["Idempotency-Replayed"] == "true"
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=24, minutes=1))
    response = alice.call("POST", "vms", NEW | {"name": "web-2"}, headers=key("k"))
    assert response.status_code == 202
    assert VirtualMachine.objects.count() == 2


def test_while_the_first_is_under_way_the_second_is_a_409(world):
    idempotency.begin(world.alice, "k", _hash(world, NEW))
    response = world.api("alice").call("POST", "vms", NEW, headers=key("k"))
    assert (response.status_code, response.json()["code"]) == (409, "in_flight")


def _hash(world, body):
    """Return the hash that a call with this body has, as the first call recorded it."""
    api = world.api("alice")
    api.call("POST", "vms", body, headers=key("probe"))
    found = IdempotencyRecord.objects.get(key="probe").request_hash
    VirtualMachine.objects.update(desired_state="deleted")
    return found


def test_a_call_that_died_does_not_hold_its_key_for_ever(world):
    record = idempotency.begin(world.alice, "k", _hash(world, NEW))
    IdempotencyRecord.objects.filter(pk=record.pk).update(created_at=timezone.now() - timedelta(seconds=61))
    assert world.api("alice").call("POST", "vms", NEW, headers=key("k")).status_code == 202
    with pytest.raises(idempotency.InFlight):  # the one that was thought dead cannot commit its work any more
        idempotency.finish(record, 202, "{}")


def test_a_crash_leaves_neither_work_nor_key(world, monkeypatch):
    def crash(*_args, **_kwargs):
        raise RuntimeError

    alice = world.api("alice")
    alice.raise_request_exception = False
    with monkeypatch.context() as patched:
        patched.setattr(idempotency, "finish", crash)
        response = alice.call("POST", "vms", NEW, headers=key("k"))
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert not VirtualMachine.objects.exists()
    assert alice.call("POST", "vms", NEW, headers=key("k")).status_code == 202


def test_no_capacity_is_not_kept(world):
    alice = world.api("alice")
    type(world.node).objects.update(cordoned=True)
    assert alice.call("POST", "vms", NEW, headers=key("k")).status_code == 503
    type(world.node).objects.update(cordoned=False)
    assert alice.call("POST", "vms", NEW, headers=key("k")).status_code == 202


@pytest.mark.parametrize("bad", ["", "x" * 201, "ä", "a\tb", "a b"])
def test_a_key_that_is_none(world, bad):
    response = world.api("alice").call("POST", "vms", NEW, headers=key(bad))
    assert (response.status_code, list(response.json()["fields"])) == (422, ["Idempotency-Key"])


def test_calls_that_answer_with_a_secret_take_no_key(world):
    vm = world.vm()
    alice = world.api("alice")
    tickets = {alice.call("POST", f"vms/{vm.pk}/console", {"kind": "vnc"}, headers=key("k")).content for _ in range(2)}
    tokens = {alice.call("POST", "tokens", {"name": "ci"}, headers=key("k")).content for _ in range(2)}
    assert (len(tickets), len(tokens)) == (2, 2)
    assert not IdempotencyRecord.objects.exists()


def test_no_secret_is_stored_with_an_answer(world):
    body = NEW | {"password": "canary-password", "user_data": "#!/bin/sh\ncanary-user-data"}
    world.api("alice").call("POST", "vms", body, headers=key("k"))
    record = IdempotencyRecord.objects.get()
    assert "canary" not in record.body + record.request_hash


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_with_one_key_one_does_the_work(transactional_db, world):
    client, start = world.api("alice"), threading.Barrier(8)
    token = client.defaults["HTTP_AUTHORIZATION"]

    def call(_n):
        start.wait(20)
        try:
            return said(type(client)(HTTP_AUTHORIZATION=token).call("POST", "vms", NEW, headers=key("k")))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(8)))
    assert VirtualMachine.objects.count() == 1
    assert {status for status, _body in answers} <= {202, 409}
    assert len({body for status, body in answers if status == 202}) == 1
    assert client.call("POST", "vms", NEW, headers=key("k")).status_code == 202
