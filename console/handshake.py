"""The beginning of a console: whose page asks, and with which ticket.

A client offers the subprotocols `slipway.v1` and `ticket.<ticket>` (docs/api.md). A wrong Origin gets HTTP 403;
every other refusal is a websocket that is accepted and closed with a code of `vms.console_access.Refused`.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from accounts.origins import origin_of
from vms import console_access
from vms.console_access import SUBPROTOCOL, TICKET_PREFIX, ConsoleRefused, Grant, Refused

from .blocking import Blocking
from .relay import Message, Send

CLOSE_SECONDS = 2.0  # for a client that does not take even the closing frame


class WrongOrigin(Exception):
    """This site may not open this console."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a client said: `ticket` is "" when it brought none, or not the protocol that goes with it."""

    origin: str | None
    ticket: str
    kind: str
    vm_id: UUID
    address: str | None


def read_hello(scope: Message) -> Hello:
    """Return what the handshake says; WrongOrigin for a site that is not ours, whatever it brought."""
    origin = origin_of(scope)
    if origin is not None and origin not in settings.PORTAL_ORIGINS:
        raise WrongOrigin
    arguments = scope["url_route"]["kwargs"]
    client = scope.get("client")
    return Hello(
        origin=origin,
        ticket=_ticket_of(scope.get("subprotocols", [])),
        kind=arguments["kind"],
        vm_id=arguments["vm_id"],
        address=client[0] if client else None,
    )


def _ticket_of(subprotocols: list[str]) -> str:
    tickets = [word.removeprefix(TICKET_PREFIX) for word in subprotocols if word.startswith(TICKET_PREFIX)]
    return tickets[0] if len(tickets) == 1 and SUBPROTOCOL in subprotocols else ""


async def check_origin(hello: Hello, blocking: Blocking) -> None:
    """Compare the Origin with the ticket's; WrongOrigin. A ticket got with an API token goes with none."""
    wanted = await blocking.database(console_access.origin_wanted, hello.ticket) if hello.ticket else None
    if wanted is not None and hello.origin != (wanted or None):
        raise WrongOrigin


async def redeem(hello: Hello, blocking: Blocking) -> Grant:
    """Use the ticket up; ConsoleRefused."""
    if not hello.ticket:
        raise ConsoleRefused(Refused.BAD_TICKET)
    return await blocking.database(
        console_access.redeem,
        hello.ticket,
        vm_id=hello.vm_id,
        kind=hello.kind,
        node=settings.NODE_NAME,
        address=hello.address,
    )


async def deny(send: Send) -> None:
    """Refuse the handshake: uvicorn answers HTTP 403 to a close before the accept."""
    await send({"type": "websocket.close", "code": 4403})


async def accept(send: Send) -> None:
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})


async def close(send: Send, code: int) -> None:
    """Close an accepted websocket; one whose client has gone or does not read is left to the server."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await send({"type": "websocket.close", "code": int(code)})
