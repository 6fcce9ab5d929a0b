"""F12 and F22: transactions that collide are tried again and have one effect; of two verbs at once one is admitted."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement

import pytest
from django.db import OperationalError, connection, connections, transaction

from accounts import retrying
from accounts.models import AuditEntry, Project
from accounts.refusals import InvalidState, NotVisible, OperationInProgress
from accounts.retrying import collided, retried
from portal.invariants import evaluate
from sandboxes import services as sandboxes
from tests.portal.consoles import ticket
from tests.portal.lab import SANDBOX_KINDS, make_lab, stub_gateway
from tests.portal.world import make_world
from vms import console_access, services
from vms.console_access import ConsoleRefused
from vms.models import ConsoleSession, Flavor, Operation
from vms.services import begin
from vms.states import LEGAL_FROM, LIVE, PREEMPTS


class _Cause(Exception):
    def __init__(self, sqlstate):
        super().__init__()
        self.sqlstate = sqlstate


def collision(sqlstate=None):
    """What Django raises for PostgreSQL's SQLSTATE, or (None) for SQLite's lock."""
    error = OperationalError("database is locked" if sqlstate is None else "undone")
    error.__cause__ = None if sqlstate is None else _Cause(sqlstate)
    return error


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_PAUSE_SECONDS", 0.0005)


@pytest.fixture
def shared_world(transactional_db):
    return make_world()


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", None])
@pytest.mark.parametrize("times", [1, 4])
def test_a_request_that_collides_has_one_effect_F12(shared_world, monkeypatch, bells, sqlstate, times):
    world = shared_world
    vm = world.vm()
    left = [collision(sqlstate) for _time in range(times)]
    really = begin.record

    def record(*args, **kwargs):
        entry = really(*args, **kwargs)  # everything is written by now, and undone with the rest
        if left:
            raise left.pop()
        return entry

    monkeypatch.setattr(begin, "record", record)
    _vm, operation = services.request_stop(world.actor("alice"), vm.pk)
    assert not left
    assert list(Operation.objects.filter(vm=vm, kind="stop")) == [operation]
    assert AuditEntry.objects.filter(action="vm.stop", target_id=vm.pk).count() == 1
    world.drain()
    assert evaluate(world.hypervisor) == []


def test_a_console_that_collides_is_opened_once_F12(shared_world, monkeypatch):
    vm = shared_world.vm()
    issued = ticket(shared_world, "alice", vm)
    left = [collision("40P01"), collision(None)]
    really = console_access.record

    def record(*args, **kwargs):
        entry = really(*args, **kwargs)
        if left:
            raise left.pop()
        return entry

    monkeypatch.setattr(console_access, "record", record)
    grant = console_access.redeem(issued.ticket, vm_id=vm.pk, kind="vnc", node="node-1")
    assert not left
    assert [row.pk for row in ConsoleSession.objects.all()] == [grant.session_id]
    assert AuditEntry.objects.filter(action="console.open").count() == 1
    with pytest.raises(ConsoleRefused):
        console_access.redeem(issued.ticket, vm_id=vm.pk, kind="vnc", node="node-1")


def test_it_is_given_up_after_five_tries_and_nothing_is_left(shared_world, monkeypatch):
    world = shared_world
    vm = world.vm()
    tries = []

    def record(*args, **kwargs):
        tries.append(1)
        raise collision("40P01")

    monkeypatch.setattr(begin, "record", record)
    with pytest.raises(OperationalError):
        services.request_stop(world.actor("alice"), vm.pk)
    assert len(tries) == 5
    assert not Operation.objects.filter(vm=vm, kind="stop").exists()


def test_what_is_no_collision_is_not_tried_again(transactional_db):
    tries = []

    @retried
    def work():
        tries.append(1)
        raise OperationalError("the disk is full")

    with pytest.raises(OperationalError):
        work()
    assert len(tries) == 1
    assert not collided(OperationalError("server closed the connection unexpectedly"))


def test_within_another_transaction_its_owner_has_to_try_again(transactional_db):
    tries = []

    @retried
    def work():
        tries.append(1)
        raise collision("40001")

    with pytest.raises(OperationalError), transaction.atomic():
        work()
    assert len(tries) == 1


def at_once(*works):
    """Run each in a thread with a connection of its own, all starting together; return results or exceptions."""
    barrier = threading.Barrier(len(works), timeout=30)

    def run(work):
        try:
            connection.ensure_connection()
            barrier.wait()
            return work()
        except Exception as error:  # noqa: BLE001 - the outcome is what is asked about
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def test_two_sessions_that_lock_each_other_both_get_through_F12(shared_world):
    """PostgreSQL kills one of them (40P01); SQLite lets one wait. Either way both have happened once."""
    first, second = Flavor.objects.order_by("name")[:2]
    met = threading.Barrier(2, timeout=5)

    def crosswise(one, other):
        tries = []

        @retried
        @transaction.atomic
        def work():
            tries.append(1)
            Flavor.objects.filter(pk=one.pk).update(memory_mib=one.memory_mib + 1)
            if connection.vendor == "postgresql" and len(tries) == 1:
                met.wait()
            flavor = Flavor.objects.get(pk=other.pk)
            Flavor.objects.filter(pk=other.pk).update(disk_gib=flavor.disk_gib + 1)
            return len(tries)

        return work

    tries = at_once(crosswise(first, second), crosswise(second, first))
    won, lost = sorted(tries)  # who lost may lose again, to one who has not committed yet
    assert won == 1
    assert 2 <= lost <= 5 if connection.vendor == "postgresql" else lost == 1
    for before in (first, second):
        after = Flavor.objects.get(pk=before.pk)
        assert (after.memory_mib, after.disk_gib) == (before.memory_mib + 1, before.disk_gib + 1)


def test_a_start_and_a_stop_of_two_machines_never_wait_for_each_other(shared_world):
    """Their locks once crossed: project, machine here, and machine, project (by its foreign key) there."""
    world = shared_world
    vm = world.vm()
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=world.harbor.pk)  # as a start does, first of all
        if connection.vendor == "postgresql":  # SQLite has one writer at a time
            [answer] = at_once(lambda: services.request_stop(world.actor("alice"), vm.pk))
            assert answer[1].kind == "stop"
    world.drain()


RUNNING_VERBS = sorted(kind for kind, states in LEGAL_FROM.items() if "running" in states and kind not in SANDBOX_KINDS)


@pytest.mark.parametrize("pair", list(combinations_with_replacement(RUNNING_VERBS, 2)), ids="-".join)
def test_of_two_verbs_at_once_one_is_admitted_F22(shared_world, pair):
    world = shared_world
    vm = world.vm()
    answers = at_once(
        *[lambda verb=verb: getattr(services, f"request_{verb}")(world.actor("alice"), vm.pk) for verb in pair]
    )
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert all(isinstance(answer, OperationInProgress | InvalidState) for answer in refused), answers
    live = Operation.objects.filter(vm=vm, status__in=LIVE)
    assert live.count() == 1
    assert "delete" not in pair or live.get().kind == "delete"
    preempted = Operation.objects.filter(vm=vm, error_code="preempted").count()
    if pair == ("delete", "delete"):
        assert not refused
    else:
        assert len(refused) + preempted == 1
        assert preempted == 0 or live.get().kind in PREEMPTS
    world.drain()
    assert evaluate(world.hypervisor) == []


SANDBOX_VERBS = ("delete", "extend", "keep", "pause", "reset")  # asked of one that runs


@pytest.mark.parametrize("pair", list(combinations_with_replacement(SANDBOX_VERBS, 2)), ids="-".join)
def test_of_two_verbs_of_a_sandbox_at_once_the_outcome_is_one_order_of_them_F22(shared_world, pair, monkeypatch):
    world = shared_world
    stub_gateway(monkeypatch)
    lab = make_lab(world)
    lab.prepared()
    box = lab.sandbox()
    alice, more = world.actor("alice"), {"extend": (30,)}

    def ask(verb):
        return lambda: getattr(sandboxes, f"request_{verb}")(alice, box.vm_id, *more.get(verb, ()))

    answers = at_once(*map(ask, pair))
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert all(isinstance(answer, OperationInProgress | InvalidState | NotVisible) for answer in refused), answers
    assert len(refused) < 2
    live = list(Operation.objects.filter(vm=box.vm_id, status__in=LIVE).values_list("kind", flat=True))
    if "delete" in pair and "keep" not in pair:  # kept first, it is a machine, and no sandbox that could be deleted
        assert live == ["delete"]
    assert len(live) <= 1
    world.drain()
    assert evaluate(world.hypervisor) == []
