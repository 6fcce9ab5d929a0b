"""Tickets: who gets one, that it works once and not for long, and what it is bound to (A1, A2, A18, A21)."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.sessions.models import Session
from django.db import connections
from django.db.models import F
from django.db.models.functions import Now

from accounts.actor import Actor
from accounts.models import ApiToken, AuditEntry, Membership, Role, User
from accounts.refusals import BadInput, Forbidden, InvalidState, NotVisible
from accounts.services import (
    change_password,
    create_project,
    deactivate_user,
    remove_membership,
    revoke_token,
)
from tests.portal.consoles import ORIGIN, browser_actor, ticket, token_actor
from vms import console_access, services
from vms.console_access import ConsoleRefused, Refused
from vms.models import ConsoleSession, ConsoleTicket, VirtualMachine
from vms.services import request_console

THREADS = 16


@pytest.fixture
def vm(world):
    return world.vm()


def redeem(issued, vm, **other):
    asked = {"vm_id": vm.pk, "kind": "vnc", "node": "node-1"} | other
    return console_access.redeem(issued.ticket, **asked)


def refusal_of(issued, vm, **other):
    with pytest.raises(ConsoleRefused) as caught:
        redeem(issued, vm, **other)
    return caught.value.code


# --- getting one ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "refused"),
    [("alice", None), ("bob", None), ("dana", Forbidden), ("charlie", NotVisible), ("admin", Forbidden)],
)
def test_who_gets_a_ticket_A1(world, vm, name, refused):
    if refused is None:
        issued = ticket(world, name, vm)
        assert issued.url == f"ws://127.0.0.1:8001/console/vnc/{vm.pk}"
        assert issued.protocols == ["slipway.v1", f"ticket.{issued.ticket}"]
        return
    with pytest.raises(refused):
        ticket(world, name, vm)
    assert not ConsoleTicket.objects.exists()


def test_staff_who_are_members_get_one(world, vm):
    Membership.objects.create(project=world.harbor, user=world.admin, role=Role.MEMBER)
    assert ticket(world, "admin", vm)


def test_a_machine_that_does_not_exist_looks_like_one_of_others(world, vm):
    answers = []
    for vm_id in (vm.pk, uuid4()):
        with pytest.raises(NotVisible) as caught:
            request_console(browser_actor(world, "charlie"), vm_id, "vnc")
        answers.append((str(caught.value.detail), caught.value.code))
    assert answers[0] == answers[1]


def test_a_machine_that_is_off_or_going_has_no_console(world, vm):
    services.request_force_off(world.actor("alice"), vm.pk)
    world.drain()
    with pytest.raises(InvalidState, match="off"):
        ticket(world, "alice", vm)
    services.request_delete(world.actor("alice"), vm.pk)
    with pytest.raises(InvalidState, match="deleted"):
        ticket(world, "alice", vm)


def test_a_paused_machine_has_one(world, vm):
    services.request_pause(world.actor("alice"), vm.pk)
    world.drain()
    assert ticket(world, "alice", vm)


def test_there_are_two_kinds(world, vm):
    assert ticket(world, "alice", vm, "serial").url.endswith(f"/console/serial/{vm.pk}")
    with pytest.raises(BadInput):
        ticket(world, "alice", vm, "spice")


def test_the_url_follows_the_node(world, vm):
    world.node.gateway_url = "https://n1.portal.example/"
    world.node.save()
    assert ticket(world, "alice", vm).url == f"wss://n1.portal.example/console/vnc/{vm.pk}"


def test_only_a_hash_is_kept_and_the_secret_shows_nowhere_A23(world, vm):
    issued = ticket(world, "alice", vm)
    row = ConsoleTicket.objects.get()
    stored = [str(getattr(row, field.attname)) for field in row._meta.concrete_fields]
    assert issued.ticket not in " ".join(stored)
    assert issued.ticket not in repr(issued)
    assert issued.ticket not in issued.url
    assert len(issued.ticket) >= 43  # 256 bits


# --- using it ---------------------------------------------------------------------------------------------------
def test_a_ticket_opens_its_console_once_and_that_is_audited(world, vm):
    issued = ticket(world, "alice", vm)
    grant = console_access.redeem(issued.ticket, vm_id=vm.pk, kind="vnc", node="node-1", address="192.0.2.7")
    assert (grant.user_id, grant.vm_id, grant.domain_uuid) == (world.alice.pk, vm.pk, vm.domain_uuid)
    assert ConsoleSession.objects.get().user == world.alice
    entry = AuditEntry.objects.get(action="console.open")
    assert (entry.actor_name, entry.via, entry.target_id, entry.address) == ("alice", "session", vm.pk, "192.0.2.7")
    assert entry.data == {"console": "vnc"}
    assert refusal_of(issued, vm) is Refused.BAD_TICKET
    assert ConsoleSession.objects.count() == 1


def test_asking_for_a_ticket_is_not_opening_a_console(world, vm):
    ticket(world, "alice", vm)
    assert not AuditEntry.objects.filter(action="console.open").exists()


@pytest.mark.parametrize(("age", "code"), [(29, None), (31, Refused.BAD_TICKET)])
def test_a_ticket_is_good_for_30_seconds_of_the_databases_clock_A2(world, vm, age, code):
    issued = ticket(world, "alice", vm)
    row = ConsoleTicket.objects.get()
    assert abs(row.expires_at - row.created_at - timedelta(seconds=30)) < timedelta(seconds=1)
    assert row.expires_at == issued.expires_at
    ConsoleTicket.objects.update(expires_at=F("expires_at") - timedelta(seconds=age))
    if code is None:
        assert redeem(issued, vm)
    else:
        assert refusal_of(issued, vm) is code


def test_a_ticket_is_for_one_machine_kind_and_node_A2(world, vm):
    other = world.vm("web-2")
    issued = ticket(world, "alice", vm)
    for wrong in ({"vm_id": other.pk}, {"kind": "serial"}, {"node": "node-2"}):
        assert refusal_of(issued, vm, **wrong) is Refused.BAD_TICKET
    with pytest.raises(ConsoleRefused):
        console_access.redeem(issued.ticket + "x", vm_id=vm.pk, kind="vnc", node="node-1")
    assert redeem(issued, vm), "the tries did not use it up"


def expire_session(world, actor):
    Session.objects.filter(session_key=actor.session_key).update(expire_date=Now() - timedelta(seconds=1))


def log_out(world, actor):
    Session.objects.filter(session_key=actor.session_key).delete()


def take_session_over(world, actor):
    """The key lives on, for somebody else."""
    stranger = browser_actor(world, "alice")
    data = Session.objects.get(session_key=stranger.session_key).session_data
    Session.objects.filter(session_key=actor.session_key).update(session_data=data)


def shrink_role(world, actor):
    Membership.objects.filter(user=actor.user, project=world.harbor).update(role=Role.VIEWER)


LOSSES = {
    "deactivated": (False, lambda world, actor: deactivate_user(world.actor("admin"), actor.user), Refused.REVOKED),
    "removed from the project": (
        False,
        lambda world, actor: Membership.objects.filter(user=actor.user, project=world.harbor).delete(),
        Refused.REVOKED,
    ),
    "made a viewer": (False, shrink_role, Refused.REVOKED),
    "logged out": (False, log_out, Refused.REVOKED),
    "session expired": (False, expire_session, Refused.REVOKED),
    "session of another": (False, take_session_over, Refused.REVOKED),
    "password changed": (
        False, lambda world, actor: change_password(actor, "another-long-password"), Refused.REVOKED,
    ),
    "token revoked": (True, lambda world, actor: revoke_token(actor, actor.token_id), Refused.REVOKED),
    "token expired": (
        True, lambda world, actor: ApiToken.objects.update(expires_at=Now() - timedelta(seconds=1)), Refused.REVOKED,
    ),
    "machine deleted": (
        False,
        lambda world, actor: services.request_delete(world.actor("alice"), VirtualMachine.objects.get().pk),
        Refused.GONE,
    ),
    "another domain": (
        False, lambda world, actor: VirtualMachine.objects.update(domain_uuid=uuid4()), Refused.GONE,
    ),
    "machine off": (
        False, lambda world, actor: VirtualMachine.objects.update(observed_state="stopped"), Refused.NOT_RUNNING,
    ),
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_what_a_ticket_stands_for_must_still_hold_when_it_is_used_A1_A21(world, vm, loss):
    by_token, lose, code = LOSSES[loss]
    actor = token_actor(world, "bob") if by_token else browser_actor(world, "bob")
    issued = request_console(actor, vm.pk, "vnc")
    lose(world, actor)
    assert refusal_of(issued, vm) is code
    assert not ConsoleSession.objects.exists()
    assert refusal_of(issued, vm) is Refused.BAD_TICKET, "a refused ticket is used up"


@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_ends_a_console_that_is_open_and_no_other_A21(world, vm, loss):
    by_token, lose, code = LOSSES[loss]
    actor = token_actor(world, "bob") if by_token else browser_actor(world, "bob")
    bobs = redeem(request_console(actor, vm.pk, "vnc"), vm)
    alices = redeem(ticket(world, "alice", vm), vm)
    assert console_access.verdicts([bobs, alices]) == {}
    lose(world, actor)
    verdicts = console_access.verdicts([bobs, alices])
    assert verdicts.pop(bobs.session_id) is code
    if code is Refused.REVOKED and loss != "token expired":
        assert verdicts == {}, "alice keeps hers"


def test_a_ticket_without_login_or_token_opens_nothing(world, vm):
    issued = request_console(Actor(user=world.alice, via="test"), vm.pk, "vnc")
    assert refusal_of(issued, vm) is Refused.REVOKED


def test_a_machine_moved_to_a_project_of_others_is_theirs(world, vm):
    grant = redeem(ticket(world, "bob", vm), vm)
    other = create_project(Actor.system(), "other", world.charlie)
    VirtualMachine.objects.update(project=other)
    assert console_access.verdicts([grant]) == {grant.session_id: Refused.REVOKED}


def test_removing_a_member_through_the_service_ends_it(world, vm):
    grant = redeem(ticket(world, "bob", vm), vm)
    remove_membership(world.actor("alice"), world.harbor, world.bob.pk)
    assert console_access.verdicts([grant]) == {grant.session_id: Refused.REVOKED}


# --- how many ---------------------------------------------------------------------------------------------------
def test_five_consoles_and_no_more_A18(world, vm):
    grants = [redeem(ticket(world, "alice", vm), vm) for _ in range(5)]
    assert refusal_of(ticket(world, "alice", vm), vm) is Refused.TOO_MANY
    assert redeem(ticket(world, "bob", vm), vm), "others are not concerned"
    console_access.close(grants[0])
    assert redeem(ticket(world, "alice", vm), vm), "a closed one makes room"


def test_rows_of_a_dead_gateway_do_not_count_for_long(world, vm):
    for _ in range(5):
        redeem(ticket(world, "alice", vm), vm)
    ConsoleSession.objects.update(seen_at=Now() - timedelta(seconds=31))
    assert redeem(ticket(world, "alice", vm), vm)
    assert console_access.close_all_of("node-2") == 0
    assert console_access.close_all_of("node-1") == 6


def test_a_row_that_was_swept_away_comes_back_while_its_console_is_open(world, vm):
    first, second = (redeem(ticket(world, "alice", vm), vm) for _ in range(2))
    ConsoleSession.objects.filter(pk=first.session_id).delete()
    ConsoleSession.objects.update(seen_at=Now() - timedelta(seconds=100))
    console_access.keep([first, second])
    fresh = ConsoleSession.objects.filter(seen_at__gt=Now() - timedelta(seconds=5))
    assert set(fresh.values_list("pk", flat=True)) == {first.session_id, second.session_id}


def test_checking_costs_the_same_for_one_and_for_sixty(world, vm, django_assert_num_queries):
    names = ("alice", "bob")
    grants = [redeem(ticket(world, name, vm, by_token=name == "bob"), vm) for name in names]
    many = []
    for number in range(29):
        user = User.objects.create(username=f"u{number}")
        Membership.objects.create(project=world.harbor, user=user, role=Role.MEMBER)
        world.users[user.username] = user
        many += [redeem(ticket(world, user.username, vm, by_token=tokened), vm) for tokened in (True, False)]
    for open_now in (grants, grants + many):
        with django_assert_num_queries(6):
            assert console_access.verdicts(open_now) == {}
        with django_assert_num_queries(1):
            console_access.keep(open_now)


# --- many at once -----------------------------------------------------------------------------------------------
def at_once(works):
    """Run the callables in threads that start together; return what each returned or the code it was refused with."""
    barrier = threading.Barrier(THREADS)

    def one(work):
        barrier.wait(20)
        try:
            return work()
        except ConsoleRefused as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, works))


@pytest.mark.django_db(transaction=True)
def test_of_64_redemptions_at_once_exactly_one_wins_A2(world, vm):
    issued = ticket(world, "alice", vm)
    answers = at_once([lambda: redeem(issued, vm)] * 64)
    assert sorted(isinstance(answer, console_access.Grant) for answer in answers) == [False] * 63 + [True]
    assert {answer for answer in answers if isinstance(answer, Refused)} == {Refused.BAD_TICKET}
    assert ConsoleSession.objects.count() == AuditEntry.objects.filter(action="console.open").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_16_tickets_at_once_exactly_five_open_a_console_A18(world, vm):
    issued = [ticket(world, "alice", vm, by_token=True) for _ in range(16)]
    answers = at_once([lambda one=one: redeem(one, vm) for one in issued])
    assert answers.count(Refused.TOO_MANY) == 11
    assert ConsoleSession.objects.count() == 5


def test_the_origin_that_must_come_with_a_ticket_A3(world, vm):
    assert console_access.origin_wanted(ticket(world, "alice", vm).ticket) == ORIGIN
    assert console_access.origin_wanted(ticket(world, "alice", vm, by_token=True).ticket) == ""
    assert console_access.origin_wanted("unknown") is None
