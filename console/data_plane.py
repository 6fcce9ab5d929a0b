"""What web asks a gateway for on a VM's behalf, over HTTP: runs, their output while it grows, files.

Every call is signed by web for this node, method and path (vms.gateway_auth); without that the answer is 403, whether
there is such a run or not.
"""

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError

from sandboxes import run_journal
from sandboxes.states import RUN_ENDED
from vms import gateway_auth

from .blocking import Blocking
from .files import BadTransfer, Files, Incomplete
from .relay import Message, Receive, Send
from .runs import Runs
from .spool import STREAMS, Spool

log = structlog.get_logger(__name__)
UUID_TEXT = "([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
RUN = re.compile(rf"/internal/v1/runs/{UUID_TEXT}(?:/(output|events))?")
FILES = re.compile(rf"/internal/v1/vms/{UUID_TEXT}/files")
OUTPUT_BYTES = 1024 * 1024  # in one answer
KEEPALIVE_SECONDS = 15.0
NOT_HERE_SECONDS = 1.0  # between two looks at the row of a run that nobody carries here
KINDS = {"file": b"application/octet-stream", "folder": b"application/x-tar"}


class DataPlane:
    def __init__(self, runs: Runs, files: Files, blocking: Blocking) -> None:
        self._runs = runs
        self._files = files
        self._blocking = blocking

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a call whose path `is_of_data_plane`."""
        if not is_signed(scope):
            await answer(scope, send, 403)
            return
        words = scope["query_string"].decode("latin-1")
        query = dict(parse_qsl(words, keep_blank_values=True, errors="surrogateescape"))
        try:
            await self._route(scope, receive, send, query)
        except BadTransfer as bad:
            await problem(scope, send, bad.status, bad.code, bad.sentence)
        except DatabaseError:
            log.exception("data_plane.no_database")
            await answer(scope, send, 503)

    async def _route(self, scope: Message, receive: Receive, send: Send, query: dict[str, str]) -> None:
        method, path = scope["method"], scope["path"]
        if found := FILES.fullmatch(path):
            if method == "PUT":
                await self._put(scope, receive, send, UUID(found[1]), query)
            elif method == "GET":
                await self._get(scope, receive, send, UUID(found[1]), query)
            else:
                await answer(scope, send, 405)
        elif found := RUN.fullmatch(path):
            run_id, what = UUID(found[1]), found[2]
            if what is None and method in {"POST", "DELETE"}:
                known = await self._runs.start(run_id) if method == "POST" else self._runs.kill(run_id)
                await answer(scope, send, 202 if known else 404)
            elif what == "output" and method == "GET":
                await self._output(scope, send, run_id, query)
            elif what == "events" and method == "GET":
                offsets = [_number(query.get(name, "")) for name in STREAMS]
                events = self._events(run_id, offsets, query.get("language", ""))
                await stream(receive, send, events, [(b"content-type", b"text/event-stream")])
            else:
                await answer(scope, send, 405)

    # --- output ---
    async def _output(self, scope: Message, send: Send, run_id: UUID, query: dict[str, str]) -> None:
        """Answer with what is kept of one stream from an offset on, and whether that is the last of it."""
        if query.get("stream") not in STREAMS:
            await problem(scope, send, 422, "bad_stream", "The stream is stdout or stderr.")
            return
        number, offset = STREAMS.index(query["stream"]), _number(query.get("offset", ""))
        facts = await self._blocking.database(run_journal.facts, run_id, settings.NODE_NAME)
        if facts is None:
            await answer(scope, send, 404)
            return
        spool = Spool(self._runs.folder, run_id)
        limit = min(_number(query.get("limit", "")) or OUTPUT_BYTES, OUTPUT_BYTES)
        out = b""
        while len(out) < limit:
            piece = await self._blocking.disk(spool.read, number, offset + len(out), limit - len(out))
            if not piece:
                break
            out += piece
        last = facts["status"] in RUN_ENDED and offset + len(out) >= spool.kept[number]
        headers = [(b"x-slipway-next", str(offset + len(out)).encode()), (b"x-slipway-ended", b"1" if last else b"0")]
        await answer(scope, send, 200, out, "application/octet-stream", more=headers)

    async def _events(self, run_id: UUID, offsets: list[int], language: str) -> AsyncIterator[bytes]:
        """Yield server-sent events: `output` as long as there is some or may be, then `end`."""
        while True:
            carried = self._runs.carried(run_id)
            spool = carried.spool if carried else Spool(self._runs.folder, run_id)
            async for event in self._grown(spool, offsets, live=carried is not None):
                yield event
            facts = await self._blocking.database(run_journal.facts, run_id, settings.NODE_NAME, language)
            if facts is None or facts["status"] in RUN_ENDED:
                yield _event("end", facts or {"status": "gone"})
                return
            yield b":\n\n"
            await self._runs.until_carried(run_id, NOT_HERE_SECONDS)

    async def _grown(self, spool: Spool, offsets: list[int], *, live: bool) -> AsyncIterator[bytes]:
        """Yield what there is from the offsets on, which move; with `live`, until the run ends."""
        with spool.following() as more:
            while True:
                more.clear()
                ended = spool.ended or not live
                found = False
                for number, name in enumerate(STREAMS):
                    data = await self._blocking.disk(spool.read, number, offsets[number])
                    if data:
                        found = True
                        said = {"stream": name, "offset": offsets[number], "data": base64.b64encode(data).decode()}
                        offsets[number] += len(data)
                        yield _event("output", said, f"{offsets[0]}-{offsets[1]}")
                if found:
                    continue
                if ended:
                    return
                try:
                    async with asyncio.timeout(KEEPALIVE_SECONDS):
                        await more.wait()
                except TimeoutError:
                    yield b":\n\n"

    # --- files ---
    async def _put(self, scope: Message, receive: Receive, send: Send, domain: UUID, query: dict[str, str]) -> None:
        over = False

        async def body() -> bytes:
            nonlocal over
            while not over:
                message = await receive()
                if message["type"] != "http.request":
                    raise Incomplete
                over = not message.get("more_body", False)
                if message.get("body"):
                    found: bytes = message["body"]
                    return found
            return b""

        with contextlib.suppress(Incomplete):  # nobody is left to tell
            kind, mode = query.get("kind", "file"), query.get("mode", "")
            count = await self._files.put(domain, query.get("path", ""), kind, mode, body)
            await answer(scope, send, 200, json.dumps({"bytes": count}).encode(), "application/json")

    async def _get(self, scope: Message, receive: Receive, send: Send, domain: UUID, query: dict[str, str]) -> None:
        if query.get("kind") == "listing":
            listing = await self._files.listing(domain, query.get("path", ""))
            await answer(scope, send, 200, json.dumps(listing).encode(), "application/json")
            return
        async with self._files.get(domain, query.get("path", "")) as found:
            headers = [(b"content-type", KINDS[found.kind]), (b"x-slipway-kind", found.kind.encode())]
            await stream(receive, send, found.pieces, headers)


def is_of_data_plane(path: str) -> bool:
    return bool(RUN.fullmatch(path) or FILES.fullmatch(path))


def is_signed(scope: Message) -> bool:
    """Has web asked for exactly this? HEAD counts as the GET that it is."""
    name = gateway_auth.HEADER.lower().encode()
    said = next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
    path = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope.get("query_string") else "")
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return gateway_auth.verify(said, settings.NODE_NAME, path, method)


async def answer(
    scope: Message,
    send: Send,
    status: int,
    body: bytes = b"",
    kind: str = "text/plain",
    *,
    more: list[tuple[bytes, bytes]] | None = None,
) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *(more or []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def problem(scope: Message, send: Send, status: int, code: str, sentence: str) -> None:
    body = json.dumps({"code": code, "detail": sentence}).encode()
    await answer(scope, send, status, body, "application/json")


async def stream(
    receive: Receive, send: Send, pieces: AsyncIterator[bytes], headers: list[tuple[bytes, bytes]]
) -> None:
    """Send pieces as they come, until the end, or until the client goes away."""

    async def carry() -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [*headers, (b"cache-control", b"no-store")]}
        )
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks: list[asyncio.Future[None]] = [asyncio.ensure_future(carry()), asyncio.ensure_future(gone())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()  # what it raises makes the server drop the connection, so that the client sees it
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _event(name: str, content: dict[str, Any], identity: str = "") -> bytes:
    lines = [f"event: {name}", f"data: {json.dumps(content)}"] + ([f"id: {identity}"] if identity else [])
    return ("\n".join(lines) + "\n\n").encode()
