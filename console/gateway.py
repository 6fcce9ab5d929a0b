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
from .data_plane import UUID_TEXT, DataPlane, answer, is_of_data_plane, is_signed
from .files import Files
from .guest_links import GuestLinks
from .relay import Message, Receive, Send
from .runs import Runs
from .screenshots import Screenshots
from .serial_hub import SerialHub
from .watch import Watch

log = structlog.get_logger(__name__)
_SCREENSHOT = re.compile(gateway_auth.screenshot_path(UUID_TEXT))


class Gateway:
    def __init__(self, hypervisor: Hypervisor, sockets: Path, runs: Path | None = None) -> None:
        self._up = False
        self.hypervisor = hypervisor
        self.blocking = Blocking()
        self.serial = SerialHub(sockets)
        self.watch = Watch(self.blocking)
        self.screenshots = Screenshots(hypervisor, self.blocking)
        self.consoles = Consoles(hypervisor, self.serial, self.watch, self.blocking)
        self.links = GuestLinks(sockets)
        self.runs = Runs(hypervisor, self.links, self.blocking, runs or settings.DATA_DIR / "runs")
        self.data = DataPlane(self.runs, Files(hypervisor, self.links, self.blocking), self.blocking)
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
            await self._http(scope, receive, send)
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
        tasks = [asyncio.ensure_future(part.run()) for part in (self.serial, self.watch, self.runs)]
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
            self.links.close()
            self.blocking.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        self.hypervisor.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        found = _SCREENSHOT.fullmatch(scope["path"])
        if is_of_data_plane(scope["path"]):
            await (self.data(scope, receive, send) if self._up else answer(scope, send, 503))
        elif scope["method"] not in {"GET", "HEAD"}:
            await answer(scope, send, 405)
        elif scope["path"] == "/healthz":
            await answer(scope, send, 200, json.dumps({"status": "ok"}).encode(), "application/json")
        elif found:
            status, png = await self.screenshots.take(UUID(found[1])) if is_signed(scope) else (403, b"")
            await answer(scope, send, status, png, "image/png")
        else:
            await answer(scope, send, 404)


async def _nothing_here(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    await handshake.deny(send)


def _say_why(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("gateway.task_died", exc_info=task.exception())
