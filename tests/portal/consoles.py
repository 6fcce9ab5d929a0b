"""What console tests share: tickets, a websocket client for ASGI applications, displays that stay open."""

import asyncio
import os
import socket
from dataclasses import replace
from typing import Any

from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from django.conf import settings
from django.test import Client

from accounts.actor import Actor
from accounts.models import ApiToken
from accounts.services import issue_token
from console.relay import Message
from hypervisor.fake import FakeHypervisor
from vms.models import VirtualMachine
from vms.services.consoles import IssuedTicket, request_console

ORIGIN = "https://portal.example:8443"
DEADLINE = 20
in_database = database_sync_to_async  # a test coroutine may not touch the database in its own thread


def browser_actor(world: Any, name: str) -> Actor:
    """Return someone who has just signed in, in a browser at ORIGIN."""
    client = Client()
    client.force_login(world.users[name])
    key = client.cookies[settings.SESSION_COOKIE_NAME].value
    return Actor(user=world.users[name], via="session", session_key=key, origin=ORIGIN)


def token_actor(world: Any, name: str) -> Actor:
    """Return someone with a new API token."""
    token, _secret = issue_token(world.actor(name), "console test", scope=ApiToken.Scope.WRITE)
    return Actor(user=world.users[name], via="token", token_id=token.pk)


def ticket(world: Any, name: str, vm: VirtualMachine, kind: str = "vnc", *, by_token: bool = False) -> IssuedTicket:
    actor = token_actor(world, name) if by_token else browser_actor(world, name)
    return request_console(actor, vm.pk, kind)


class Displays(FakeHypervisor):
    """A fake hypervisor whose displays stay open: `ends` are the VM's sides, in the order they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[socket.socket] = []

    def open_graphics(self, uuid: Any) -> int:
        os.close(super().open_graphics(uuid))  # it is allowed: now one that does not close at once
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        theirs.sendall(b"RFB 003.008\n")
        self.ends.append(theirs)
        return ours.detach()

    @classmethod
    def like(cls, other: FakeHypervisor) -> "Displays":
        made = cls()
        made._host = other._host
        return made

    def close_displays(self) -> None:
        for end in self.ends:
            end.close()


class Socket:
    """A websocket client of an ASGI application: `code = await socket.open()`, then `read()`, `type()`, `closed()`."""

    def __init__(self, app: Any, path: str, *, headers: list[tuple[bytes, bytes]], protocols: list[str]) -> None:
        scope: Message = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "wss",
            "headers": headers,
            "subprotocols": protocols,
            "client": ("192.0.2.7", 4711),
        }
        self._app = ApplicationCommunicator(app, scope)

    async def open(self) -> bool:
        """Shake hands; False is a refusal before the accept, which servers answer with HTTP 403."""
        await self._app.send_input({"type": "websocket.connect"})
        first = await self._app.receive_output(DEADLINE)
        if first["type"] == "websocket.accept":
            assert first["subprotocol"] == "slipway.v1"
            return True
        assert first["type"] == "websocket.close"
        return False

    async def read(self) -> bytes:
        message = await self._app.receive_output(DEADLINE)
        assert message["type"] == "websocket.send", message
        data: bytes = message["bytes"]
        return data

    async def closed(self) -> int:
        """Return the close code, having seen no byte."""
        message = await self._app.receive_output(DEADLINE)
        assert message["type"] == "websocket.close", message
        code: int = message["code"]
        await self._app.wait(DEADLINE)
        return code

    async def is_open(self) -> bool:
        nothing: bool = await self._app.receive_nothing(0.05)
        return nothing

    async def type(self, data: bytes) -> None:
        await self._app.send_input({"type": "websocket.receive", "bytes": data})

    async def leave(self) -> None:
        await self._app.send_input({"type": "websocket.disconnect", "code": 1001})
        await self._app.wait(DEADLINE)


def origins(*values: str | bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"gateway")] + [
        (b"origin", value if isinstance(value, bytes) else value.encode()) for value in values
    ]


def console(gateway: Any, issued: IssuedTicket, *headers: str | bytes) -> Socket:
    """Return a client for the console that a ticket is for; `headers` are its Origins."""
    path = "/" + issued.url.split("://", 1)[1].split("/", 1)[1]
    return Socket(gateway, path, headers=origins(*headers), protocols=issued.protocols)


def with_ticket(issued: IssuedTicket, secret: str) -> IssuedTicket:
    return replace(issued, ticket=secret)


async def eventually(condition: Any) -> Any:
    """Wait until a coroutine function answers something true, and return that."""
    async with asyncio.timeout(DEADLINE):
        while not (answer := await condition()):  # noqa: ASYNC110 - rows have no events
            await asyncio.sleep(0.02)
        return answer
