"""Tickets for consoles: asked for here, redeemed by the machine's gateway (vms/console_access.py)."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.access import Verb
from accounts.actor import Actor
from accounts.refusals import BadInput, InvalidState
from accounts.retrying import retried

from ..console_access import SUBPROTOCOL, TICKET_PREFIX, console_path, hash_of
from ..models import ConsoleTicket, VirtualMachine
from ..models.console import ConsoleKind
from ..queries import get_vm_for
from ..states import ACTIVE, DesiredState


@dataclass(frozen=True, slots=True)
class IssuedTicket:
    """What a client needs to open one console once: connect to `url` with the subprotocols `protocols`."""

    url: str
    ticket: str = field(repr=False)
    expires_at: datetime

    @property
    def protocols(self) -> list[str]:
        return [SUBPROTOCOL, TICKET_PREFIX + self.ticket]


@retried
@transaction.atomic
def request_console(actor: Actor, vm_id: UUID | str, kind: str) -> IssuedTicket:
    """Issue a ticket of 30 s for a console of a running or paused machine. BadInput, InvalidState.

    The secret is in the answer and nowhere else. Opening the console is audited, not asking for it.
    """
    if kind not in ConsoleKind.values:
        raise BadInput({"kind": [_("A console is vnc, serial or ssh.")]})
    vm = get_vm_for(actor.who, vm_id, Verb.CONSOLE)
    _check_running(vm)
    secret = secrets.token_urlsafe(32)
    ticket = ConsoleTicket.objects.create(
        secret_hash=hash_of(secret),
        user=actor.who,
        vm=vm,
        domain_uuid=vm.domain_uuid,
        kind=kind,
        session_key=actor.session_key,
        token_id=actor.token_id,
        origin=actor.origin,
        expires_at=Now() + settings.CONSOLE_TICKET_TTL,  # by the clock that it is redeemed by
    )
    ticket.refresh_from_db(fields=["expires_at"])
    return IssuedTicket(url=_gateway_url(vm, kind), ticket=secret, expires_at=ticket.expires_at)


def _check_running(vm: VirtualMachine) -> None:
    if vm.desired_state == DesiredState.DELETED:
        raise InvalidState(_("This machine is being deleted."))
    if vm.observed_state not in ACTIVE:
        raise InvalidState(_("This machine is off. Start it to open its console."))


def _gateway_url(vm: VirtualMachine, kind: str) -> str:
    """Return the websocket's URL at the gateway of the machine's node: ws for http, wss for https."""
    return "ws" + vm.node.gateway_url.rstrip("/").removeprefix("http") + console_path(vm.pk, kind)
