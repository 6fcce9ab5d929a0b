"""The gateway of a node: its ASGI application, and what runs beside the requests as long as it is up."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import structlog
from channels.routing import URLRouter
from django.conf import settings
from django.db import DatabaseError
from django.urls import path, re_path

from hypervisor.api import Hypervisor
from vms import console_access, gateway_auth

from . import handshake
from .blocking import Blocking
from .consoles import Consoles
from .relay import Message, Receive, Send
from .screenshots import Screenshots
from .serial_hub import SerialHub
from .watch import Watch

log = structlog.get_logger(__name__)
_SCREENSHOT = re.compile(gateway_auth.screenshot_path("([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"))


class Gateway:
    def __init__(self, hypervisor: Hypervisor, sockets: Path) -> None:
        self._up = False
        self.hypervisor = hypervisor
        self.blocking = Blocking()
        self.serial = SerialHub(sockets)
        self.watch = Watch(self.blocking)
        self.screenshots = Screenshots(hypervisor, self.blocking)
        self.consoles = Consoles(hypervisor, self.serial, self.watch, self.blocking)
        self.routes = URLRouter(
            [
                path("console/<str:kind>/<uuid:vm_id>", self.consoles),  # type: ignore[arg-type, list-item]
                re_path("", _nothing_here),  # type: ignore[arg-type, list-item]
            ]
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            route = self.routes if self._up else _nothing_here  # never a console that nobody watches
            await route(scope, receive, send)  # type: ignore[arg-type]
        elif scope["type"] == "http":
            await self._http(scope, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Gateway"]:
        """Hold serial lines and watch consoles until the block ends."""
        try:
            left = await self.blocking.database(console_access.close_all_of, settings.NODE_NAME)
            log.info("gateway.up", node=settings.NODE_NAME, rows_of_the_last_one=left)
        except DatabaseError:  # their age tells, too
            log.exception("gateway.rows_left")
        tasks = [asyncio.ensure_future(self.serial.run()), asyncio.ensure_future(self.watch.run())]
        for task in tasks:
            task.add_done_callback(_say_why)
        self._up = True
        try:
            yield self
        finally:
            self._up = False
            await self.consoles.end_all()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.blocking.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        self.hypervisor.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Message, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            await _answer(scope, send, 405)
        elif scope["path"] == "/healthz":
            await _answer(scope, send, 200, json.dumps({"status": "ok"}).encode(), "application/json")
        elif found := _SCREENSHOT.fullmatch(scope["path"]):
            status, png = await self._screenshot(scope, UUID(found[1]))
            await _answer(scope, send, status, png, "image/png")
        else:
            await _answer(scope, send, 404)

    async def _screenshot(self, scope: Message, uuid: UUID) -> tuple[int, bytes]:
        name = gateway_auth.HEADER.lower().encode()
        said = next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
        if not gateway_auth.verify(said, settings.NODE_NAME, scope["path"]):
            return 403, b""
        return await self.screenshots.take(uuid)


async def _nothing_here(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    await handshake.deny(send)


async def _answer(scope: Message, send: Send, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _say_why(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("gateway.task_died", exc_info=task.exception())
