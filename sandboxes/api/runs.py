"""Commands and files in sandboxes. The bytes come from the gateway of the sandbox's node."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Literal
from urllib.parse import quote
from uuid import UUID

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from ninja import Query, Router, Status
from pydantic import BaseModel, Field

from accounts.access import Verb
from accounts.refusals import TooMany
from accounts.throttling import take
from vms.api.door import actor, caller, router
from vms.api.paging import PageParams, paged
from vms.api.shapes import Page

from .. import gateway_runs, services
from ..gateway_runs import TooLarge
from ..models import Run, Sandbox
from ..queries import get_run_for, get_sandbox_for
from . import asked, shapes, show

routes = router("runs")
streams = Router(tags=["runs"])  # answered from an event loop: they last as long as somebody listens
CHUNK_BYTES = 256 * 1024
BYTES = {"200": {"description": "Bytes.", "content": {"application/octet-stream": {"schema": {"type": "string"}}}}}
EVENTS = {
    "200": {
        "description": "Server-sent events `output` ({stream, offset, data in base64}) and, the last, `end`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}}


# A guest that does not read, or writes nothing, holds a transfer up: it must not be everybody's.
UPLOADS_PER_USER, FOLLOWED_PER_USER = 4, 50
RETRY_AFTER_SECONDS = 10
_UPLOADS = ThreadPoolExecutor(16, "uploads")
# of this process, by user: each is a token, so that it can be given back twice, and from a thread
_uploading: defaultdict[UUID, set[object]] = defaultdict(set)
_following: defaultdict[UUID, set[object]] = defaultdict(set)


def _refuse_more(too_many: bool) -> None:
    if too_many:
        raise TooMany(RETRY_AFTER_SECONDS, _("Too many of these at once. Wait for one to end."))


async def _counted(feed: AsyncIterator[bytes], who: UUID) -> AsyncIterator[bytes]:
    mine = object()
    _following[who].add(mine)
    try:
        async for data in feed:
            yield data
    finally:
        _following[who].discard(mine)


class RunParams(PageParams):
    """The query of the list of runs."""


@routes.post("sandboxes/{vm_id}/runs", response={201: shapes.Run})
def create_run(request: HttpRequest, vm_id: str, body: asked.NewRun) -> Status[shapes.Run]:
    """Run a command; while the sandbox is still being made, it waits and then begins by itself."""
    new = services.NewRun(**{**body.model_dump(), "stdin": body.stdin.encode()})
    run = services.request_run(actor(request), vm_id, new)
    return Status(201, show.run(run))


@routes.get("sandboxes/{vm_id}/runs", response=Page[shapes.Run])
def list_runs(request: HttpRequest, vm_id: str, wanted: Query[RunParams]) -> Page[shapes.Run]:
    """Return the commands of a sandbox, the newest first."""
    sandbox = get_sandbox_for(caller(request), vm_id)
    rows = Run.objects.filter(vm=sandbox.vm).select_related("vm", "created_by").defer("stdin")
    return paged(rows, ["-created_at", "-id"], wanted, show.run)


@routes.get("runs/{run_id}", response=shapes.Run)
def get_run(request: HttpRequest, run_id: str) -> shapes.Run:
    """Return one command and how it went."""
    return show.run(get_run_for(caller(request), run_id))


@routes.post("runs/{run_id}/kill", response={202: shapes.Run})
def kill_run(request: HttpRequest, run_id: str, body: asked.Nothing | None = None) -> Status[shapes.Run]:
    """End a command with everything that it started. One that has ended stays as it is."""
    services.request_kill(actor(request), run_id)
    return Status(202, show.run(get_run_for(caller(request), run_id)))


class OutputParams(BaseModel):
    """The query of a command's output."""

    stream: Literal["stdout", "stderr"] = "stdout"
    offset: int = Field(0, ge=0, lt=2**53, description="In bytes, from the beginning.")
    limit: int = Field(2**20, ge=1, le=2**20, description="Bytes in one answer.")


@routes.get("runs/{run_id}/output", response=None, openapi_extra={"responses": BYTES})
def get_output(request: HttpRequest, run_id: str, wanted: Query[OutputParams]) -> HttpResponse:
    """Return what a command said, from an offset on; `X-Slipway-Next` is where to go on, unless `X-Slipway-Ended`."""
    run = get_run_for(caller(request), run_id, Verb.CONSOLE)
    piece = gateway_runs.output(run, wanted.stream, wanted.offset, wanted.limit)
    headers = {"X-Slipway-Next": str(piece.next_offset), "X-Slipway-Ended": "1" if piece.ended else "0"}
    return HttpResponse(piece.data, content_type="application/octet-stream", headers=headers)


class EventParams(BaseModel):
    """The query of a command's events: where each stream begins."""

    stdout: int = Field(0, ge=0, lt=2**53)
    stderr: int = Field(0, ge=0, lt=2**53)


@streams.get("runs/{run_id}/events", response=None, openapi_extra={"responses": EVENTS})
async def stream_run(request: HttpRequest, run_id: str, wanted: Query[EventParams]) -> StreamingHttpResponse:
    """Stream what a command says while it runs, and how it ended."""
    run = await sync_to_async(get_run_for)(caller(request), run_id, Verb.CONSOLE)
    _refuse_more(len(_following[caller(request).pk]) >= FOLLOWED_PER_USER)
    stdout, stderr = wanted.stdout, wanted.stderr
    last = re.fullmatch(r"(\d{1,15})-(\d{1,15})", request.headers.get("Last-Event-ID", ""))
    if last:
        stdout, stderr = int(last[1]), int(last[2])
    feed = gateway_runs.events(run, stdout, stderr, get_language() or settings.LANGUAGE_CODE)
    feed = _counted(feed, caller(request).pk)
    return StreamingHttpResponse(feed, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


class PutParams(BaseModel):
    """Where to, and what it is: a file, or a tar that is unpacked into a folder."""

    path: str = Field(min_length=1, max_length=4000, description="Of the guest, beginning with /.")
    kind: Literal["file", "folder"] = "file"
    mode: str = Field("", max_length=4, description="Octal, such as 755.", pattern="^([0-7]{3,4})?$")


@streams.put("sandboxes/{vm_id}/files", response=shapes.Put, openapi_extra=BODY)
async def put_file(request: HttpRequest, vm_id: str, wanted: Query[PutParams]) -> shapes.Put:
    """Write a file into a sandbox, or unpack a tar into a folder; the body is its bytes. No network is needed."""
    sandbox = await sync_to_async(_may_put)(request, vm_id)
    body = _pieces(request)
    uploads, mine, begun = _uploading[caller(request).pk], object(), False
    _refuse_more(len(uploads) >= UPLOADS_PER_USER)
    uploads.add(mine)

    def put() -> int:  # lasts as long as the guest takes, also when nobody waits for it any more
        nonlocal begun
        begun = True
        try:
            return gateway_runs.put_file(sandbox.vm, wanted.path, body, kind=wanted.kind, mode=wanted.mode)
        finally:
            uploads.discard(mine)

    try:
        count = await sync_to_async(put, thread_sensitive=False, executor=_UPLOADS)()
    finally:
        if not begun:  # its sender went away while it waited for a thread
            uploads.discard(mine)
        await sync_to_async(services.note_use)(sandbox)  # it may have taken minutes
    return shapes.Put(bytes=count)


def _may_put(request: HttpRequest, vm_id: str) -> Sandbox:
    take("change", caller(request).pk)
    sandbox = get_sandbox_for(caller(request), vm_id, Verb.CONSOLE)
    if int(request.headers.get("Content-Length") or 0) > settings.FILES_AT_MOST_BYTES:
        raise TooLarge(_("At most %(n)s MiB at once.") % {"n": settings.FILES_AT_MOST_BYTES // 2**20})
    services.note_use(sandbox)
    return sandbox


def _pieces(request: HttpRequest) -> Iterator[bytes]:
    while piece := request.read(CHUNK_BYTES):
        yield piece


class GetParams(BaseModel):
    """What is fetched."""

    path: str = Field(min_length=1, max_length=4000, description="Of the guest, beginning with /.")


@streams.get("sandboxes/{vm_id}/files", response=None, openapi_extra={"responses": BYTES})
async def get_file(request: HttpRequest, vm_id: str, wanted: Query[GetParams]) -> StreamingHttpResponse:
    """Return a file of a sandbox, or a folder as a tar; `X-Slipway-Kind` says which."""
    sandbox = await sync_to_async(_may_get)(request, vm_id)
    stack = AsyncExitStack()
    stack.push_async_callback(sync_to_async(services.note_use), sandbox)  # it may take minutes
    found = await stack.enter_async_context(gateway_runs.open_file(sandbox.vm, wanted.path))
    name = wanted.path.rstrip("/").rpartition("/")[2] or "root"
    name += ".tar" if found.kind == "folder" else ""
    headers = {
        "X-Slipway-Kind": found.kind,
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingHttpResponse(_until_closed(stack, found.pieces), content_type="application/octet-stream",
                                 headers=headers)  # fmt: skip


def _may_get(request: HttpRequest, vm_id: str) -> Sandbox:
    sandbox = get_sandbox_for(caller(request), vm_id, Verb.CONSOLE)
    services.note_use(sandbox)
    return sandbox


async def _until_closed(stack: AsyncExitStack, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces, and let go of the gateway once they are sent, or nobody listens any more."""
    async with stack:
        async for piece in pieces:
            yield piece
