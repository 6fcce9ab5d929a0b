"""Who may be at a console: a ticket is redeemed once, and what it stands for is checked while it is open.

The gateway calls this with the database alone; nothing here reaches the hypervisor. A `Grant` is what a
redeemed ticket gave: to whom, by which login or token, to which machine and which domain behind it.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from accounts.access import Verb, allows
from accounts.actor import Actor
from accounts.audit import record
from accounts.models import Membership, User
from accounts.retrying import retried
from accounts.services import live_sessions, live_tokens

from .models import ConsoleSession, ConsoleTicket, Nic, VirtualMachine
from .states import ACTIVE, DesiredState

SUBPROTOCOL = "slipway.v1"
TICKET_PREFIX = "ticket."
SESSION_STALE_AFTER = timedelta(seconds=30)  # an open console is touched every few seconds


class Refused(IntEnum):
    """Why a console is closed before or while it is open: the websocket's close code."""

    BAD_TICKET = 4401
    REVOKED = 4403
    GONE = 4404
    NOT_RUNNING = 4409
    TOO_MANY = 4429
    NO_ANSWER = 4504


@dataclass(frozen=True, slots=True)
class Grant:
    """One person's right to one console. `session_id` is the row of the open console."""

    session_id: UUID
    user_id: UUID
    vm_id: UUID
    domain_uuid: UUID
    kind: str
    session_key: str
    token_id: UUID | None


class ConsoleRefused(Exception):
    def __init__(self, code: Refused) -> None:
        super().__init__(code.name)
        self.code = code


def hash_of(secret: str) -> str:
    """Return what is stored of a ticket: it has 256 random bits, so a plain hash suffices."""
    return hashlib.sha256(secret.encode()).hexdigest()


def console_path(vm_id: UUID, kind: str) -> str:
    return f"/console/{kind}/{vm_id}"


def origin_wanted(secret: str) -> str | None:
    """Return the Origin that must come with this ticket ("" = none may come); None: no such ticket."""
    rows = ConsoleTicket.objects.filter(secret_hash=hash_of(secret))
    return rows.values_list("origin", flat=True).first()


@retried
def redeem(secret: str, *, vm_id: UUID, kind: str, node: str, address: str | None = None) -> Grant:
    """Use a ticket up and register the console that it opens, in one transaction; ConsoleRefused.

    Of any number of callers at once exactly one gets past the conditional update, by the database's clock.
    The user's row is locked, so that two tickets cannot both take the last console that someone may have.
    """
    rows = ConsoleTicket.objects.filter(secret_hash=hash_of(secret), vm_id=vm_id, kind=kind, vm__node__name=node)
    if not rows.filter(redeemed_at=None, expires_at__gt=Now()).exists():  # most bad tickets cost no write
        raise ConsoleRefused(Refused.BAD_TICKET)
    with transaction.atomic():
        user = User.objects.select_for_update().filter(pk__in=rows.values("user")).first()
        won = ConsoleTicket.objects.filter(pk__in=rows.values("pk"), redeemed_at=None, expires_at__gt=Now()).update(
            redeemed_at=Now()
        )
        if user is None or not won:
            raise ConsoleRefused(Refused.BAD_TICKET)
        ticket = rows.get()
        grant = Grant(
            session_id=ticket.pk,
            user_id=user.pk,
            vm_id=vm_id,
            domain_uuid=ticket.domain_uuid,
            kind=kind,
            session_key=ticket.session_key,
            token_id=ticket.token_id,
        )
        refused = verdicts([grant]).get(grant.session_id) or _too_many(user)
        if refused is None:
            _register(grant, user, address)
    if refused is not None:  # outside, so that the ticket stays used
        raise ConsoleRefused(refused)
    return grant


def _too_many(user: User) -> Refused | None:
    opened = ConsoleSession.objects.filter(user=user, seen_at__gt=Now() - SESSION_STALE_AFTER).count()
    return Refused.TOO_MANY if opened >= settings.CONSOLES_PER_USER else None


def _register(grant: Grant, user: User, address: str | None) -> None:
    vm = VirtualMachine.objects.select_related("project").get(pk=grant.vm_id)
    _insert([grant])
    actor = Actor(user=user, via="token" if grant.token_id else "session", address=address)
    record(actor, "console.open", project=vm.project, kind="vm", target=vm.pk, name=vm.name, console=grant.kind)


def _insert(grants: Iterable[Grant]) -> None:
    ConsoleSession.objects.bulk_create(
        (ConsoleSession(id=g.session_id, user_id=g.user_id, vm_id=g.vm_id, kind=g.kind) for g in grants),
        ignore_conflicts=True,
    )


def verdicts(grants: Collection[Grant]) -> dict[UUID, Refused]:
    """Return, by session id, why a grant no longer holds; those that hold are absent.

    Six queries for any number of grants.
    """
    vms = {
        vm["pk"]: vm
        for vm in VirtualMachine.objects.filter(pk__in={g.vm_id for g in grants}).values(
            "pk", "project_id", "domain_uuid", "desired_state", "observed_state"
        )
    }
    users = User.objects.in_bulk({g.user_id for g in grants})
    roles = {
        (user_id, project_id): role
        for user_id, project_id, role in Membership.objects.filter(
            user__in=users, project__in={vm["project_id"] for vm in vms.values()}
        ).values_list("user_id", "project_id", "role")
    }
    sessions = live_sessions({g.session_key for g in grants if g.session_key})
    tokens = dict(live_tokens().filter(pk__in={g.token_id for g in grants}).values_list("pk", "user_id"))

    def verdict(grant: Grant) -> Refused | None:
        vm, user = vms.get(grant.vm_id), users.get(grant.user_id)
        came_by = tokens.get(grant.token_id) if grant.token_id else sessions.get(grant.session_key)
        if user is None or not user.is_active or came_by != user.pk:
            return Refused.REVOKED
        if vm is None or vm["desired_state"] == DesiredState.DELETED or vm["domain_uuid"] != grant.domain_uuid:
            return Refused.GONE
        if not allows(roles.get((user.pk, vm["project_id"])), Verb.CONSOLE, user.is_staff):
            return Refused.REVOKED
        return None if vm["observed_state"] in ACTIVE else Refused.NOT_RUNNING

    return {grant.session_id: code for grant in grants if (code := verdict(grant)) is not None}


@retried
def keep(grants: Collection[Grant]) -> list[Grant]:
    """Say that these consoles are open.

    A row that was swept away, while the gateway was asleep, comes back; returns the grants whose rows did.
    """
    ids = [grant.session_id for grant in grants]
    if ConsoleSession.objects.filter(pk__in=ids).update(seen_at=Now()) == len(ids):
        return []
    there = set(ConsoleSession.objects.filter(pk__in=ids).values_list("pk", flat=True))
    alive = set(VirtualMachine.objects.filter(pk__in={g.vm_id for g in grants}).values_list("pk", flat=True))
    missing = [grant for grant in grants if grant.session_id not in there and grant.vm_id in alive]
    _insert(missing)
    return missing


def addresses_of(grant: Grant) -> list[tuple[str, str]]:
    """Return where the grant's machine is on this node: its addresses, each with the bridge that leads there."""
    rows = Nic.objects.filter(vm_id=grant.vm_id, vm__domain_uuid=grant.domain_uuid).order_by("network__name", "pk")
    return list(rows.values_list("address", "network__bridge"))


@retried
def close(grant: Grant) -> None:
    """Remove the row of a console that has ended."""
    ConsoleSession.objects.filter(pk=grant.session_id).delete()


@retried
def close_all_of(node: str) -> int:
    """Remove the rows that an earlier gateway of this node left behind; returns how many."""
    return ConsoleSession.objects.filter(vm__node__name=node).delete()[0]
