"""/healthz with each dependency away, and /metrics with every figure that an alarm may be set on."""

from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from hypervisor.errors import NoSpace
from portal import health
from vms import services
from vms.models import ConsoleSession, Node, Operation
from vms.states import OperationStatus


@pytest.fixture
def all_there(world, monkeypatch):
    """Redis answers too."""
    monkeypatch.setitem(health.DEPENDENCIES, "redis", lambda: "ok")
    return world


@contextmanager
def database_away(error):
    """Every query of this thread ends like this."""

    def refuse(*_arguments):
        raise error("the server closed the connection")

    with connection.execute_wrapper(refuse):
        yield


def asked(client, part=""):
    response = client.get(f"/healthz{part}")
    return response.status_code, response.json()


def test_ready_with_everything_there(all_there, client):
    there = {"database": "ok", "redis": "ok", "nodes": "ok"}
    assert asked(client) == (200, {"live": True, "ready": True, "dependencies": there})


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_without_the_database_it_is_alive_and_not_ready(all_there, client, error):
    with database_away(error):
        status, body = asked(client)
        assert asked(client, "/live") == (200, {"live": True})
    assert (status, body["live"], body["ready"]) == (503, True, False)
    away = f"away ({error.__name__})"
    assert body["dependencies"] == {"database": away, "redis": "ok", "nodes": away}


def test_without_redis_it_says_so(world, client, settings):
    settings.REDIS_URL = "unix:///nonexistent/redis.sock"
    status, body = asked(client)
    assert (status, body["ready"]) == (503, False)
    assert body["dependencies"] == {"database": "ok", "redis": "away (ConnectionError)", "nodes": "ok"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"synced_at": timezone.now() - timedelta(hours=1)}, "every node is away"),
        ({"hypervisor_ok": False}, "every node is away"),
        ({"cordoned": True}, "ok"),
    ],
)
def test_ready_means_that_some_node_answers_cordoned_or_not(all_there, client, changes, said):
    Node.objects.update(**changes)
    status, body = asked(client)
    assert body["dependencies"]["nodes"] == said
    assert (status == 200) is body["ready"] is (said == "ok")


def test_before_the_first_node_it_is_not_ready(db, client, monkeypatch):
    monkeypatch.setitem(health.DEPENDENCIES, "redis", lambda: "ok")
    assert asked(client)[1]["dependencies"]["nodes"] == "no node has registered yet"


def measured(world):
    """Return {(name, labels...): value} of /metrics as staff read it with a token."""
    text = world.api("admin").get("/metrics").content.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_figure_is_told(world):
    now = timezone.now()
    vm = world.vm("web-1")
    world.hypervisor.fail_next("ensure_volume", NoSpace("full"))
    world.vm("web-2")
    create = Operation.objects.filter(vm=vm, kind="create")
    create.update(takeovers=3, attempt=4)
    ConsoleSession.objects.create(user=world.alice, vm=vm, kind="vnc")
    Node.objects.update(synced_at=now - timedelta(seconds=40), breaches=2)
    due = services.request_stop(world.actor("alice"), vm.pk)[1]
    Operation.objects.filter(pk=due.pk).update(created_at=now - timedelta(seconds=50))
    found = measured(world)
    assert found["slipway_operations", "create", "succeeded"] == 1
    assert found["slipway_operations", "create", "failed"] == 1
    assert found["slipway_operations", "stop", "pending"] == 1
    assert found["slipway_operations_live",] == 1
    assert 50 <= found["slipway_queue_age_seconds",] < 110
    assert found["slipway_lease_takeovers",] == 3
    assert found["slipway_operations_taken_over",] == 1
    assert 40 <= found["slipway_reconcile_lag_seconds", "node-1"] < 100
    assert found["slipway_consoles_open",] == 1
    assert found["slipway_audit_breaches", "node-1"] == 2
    assert found["slipway_vms", "running"] == 1


def test_what_is_parked_or_tried_again_later_does_not_age_the_queue(world):
    now = timezone.now()
    waits = Operation.objects.filter(pk=world.vm(drain=False).operations.get().pk)
    waits.update(created_at=now - timedelta(hours=1), not_before=now + timedelta(seconds=20), attempt=2)
    assert measured(world)["slipway_queue_age_seconds",] == 0
    waits.update(not_before=now - timedelta(seconds=5))
    assert 5 <= measured(world)["slipway_queue_age_seconds",] < 65, "due since its pause was over"
    waits.update(status=OperationStatus.RUNNING)
    assert measured(world)["slipway_queue_age_seconds",] == 0
