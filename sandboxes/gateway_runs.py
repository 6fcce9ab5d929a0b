"""What web and workers ask a node's gateway for: runs, what they say, and files. Bytes are fetched, never queued.

Who calls this has checked that the person may. What blocks is named plainly; `events` and `open_file` are for an event
loop, because they last as long as somebody listens.
"""

import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
from asgiref.sync import sync_to_async

from accounts.refusals import BadInput, InvalidState, Refusal, Unavailable
from vms import gateway_auth, gateway_calls
from vms.models import Node, VirtualMachine

from .models import Run


class TooLarge(Refusal):
    """More than may be transferred at once."""

    status = 413
    code = "too_large"


class NoSuchFile(Refusal):
    """The guest has no such file."""

    status = 404
    code = "no_such_file"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a stream of a run. Go on at `next_offset`, unless `ended`: then nothing follows."""

    data: bytes
    next_offset: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file, or a folder as a tar: `kind` tells. `pieces` raise httpx.HTTPError when it breaks off."""

    kind: str
    pieces: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder: `kind` is folder, file, link or other. The guest says it all."""

    name: str
    kind: str
    size_bytes: int


def start(run: Run) -> None:
    """Let the gateway of the run's node take it from the database and begin it. Unavailable."""
    _call(run.vm.node, "POST", gateway_auth.run_path(run.pk))


def kill(run: Run) -> None:
    """Let the gateway end a run that is under way; one that does not answer reads `kill_requested_at` later."""
    with contextlib.suppress(Unavailable):
        _call(run.vm.node, "DELETE", gateway_auth.run_path(run.pk), fine={HTTPStatus.NOT_FOUND})


def output(run: Run, stream: str, offset: int = 0, limit: int = 2**20) -> Piece:
    """Return what is kept of `stdout` or `stderr` from an offset on, 1 MiB at most. Unavailable."""
    path = gateway_auth.run_path(run.pk, "output", stream=stream, offset=offset, limit=limit)
    response = _call(run.vm.node, "GET", path)
    following = int(response.headers["x-slipway-next"])
    return Piece(response.content, following, response.headers["x-slipway-ended"] == "1")


async def events(run: Run, stdout: int = 0, stderr: int = 0, language: str = "en") -> AsyncIterator[bytes]:
    """Yield server-sent events from these offsets on, until the run ends, in a reader's language. Unavailable.

    `output` has {stream, offset, data}, data in base64, and the id `<next stdout offset>-<next stderr offset>`; `end`,
    the last, has {status, exit_code, signal, error_code, error_detail}. Comments keep the connection alive.
    """
    path = gateway_auth.run_path(run.pk, "events", stdout=stdout, stderr=stderr, language=language)
    async with _lasting(await sync_to_async(lambda: run.vm.node)(), path) as response:
        async for data in response.aiter_raw():
            yield data


def put_file(vm: VirtualMachine, path: str, body: Iterable[bytes], *, kind: str = "file", mode: str = "") -> int:
    """Write a file, or unpack a tar into a folder (kind="folder"), as the guest's default user; returns the bytes.

    `mode` is octal, such as "755". BadInput for the path and the mode, TooLarge, InvalidState, Unavailable.
    """
    target = gateway_auth.files_path(vm.domain_uuid, path, kind, mode)
    return int(_call(vm.node, "PUT", target, content=body, timeout=gateway_calls.FINISHING).json()["bytes"])


def list_folder(vm: VirtualMachine, path: str) -> tuple[list[Entry], bool]:
    """Return what is in a folder of the guest, folders first, and whether there is more than is told.

    BadInput for the path, NoSuchFile, InvalidState, Unavailable.
    """
    found = _call(vm.node, "GET", gateway_auth.files_path(vm.domain_uuid, path, "listing")).json()
    return [Entry(**entry) for entry in found["entries"]], found["more"]


@asynccontextmanager
async def open_file(vm: VirtualMachine, path: str) -> AsyncIterator[Fetched]:
    """Yield a file of the guest, or a folder as a tar. BadInput, NoSuchFile, TooLarge, InvalidState, Unavailable."""
    node = await sync_to_async(lambda: vm.node)()
    async with _lasting(node, gateway_auth.files_path(vm.domain_uuid, path)) as response:
        yield Fetched(response.headers["x-slipway-kind"], response.aiter_raw())


def _call(node: Node, method: str, path: str, fine: Iterable[int] = (), **options: Any) -> httpx.Response:
    response = gateway_calls.call(node, method, path, **options)
    if not response.is_success and response.status_code not in fine:
        raise _refusal(node, response)
    return response


@asynccontextmanager
async def _lasting(node: Node, path: str) -> AsyncIterator[httpx.Response]:
    async with gateway_calls.lasting(node, path) as response:
        if not response.is_success:
            await response.aread()
            raise _refusal(node, response)
        yield response


def _refusal(node: Node, response: httpx.Response) -> Refusal:
    """Return what the gateway said, in our words where it is about the node and in its own where about the guest."""
    try:
        said = response.json()
        code, detail = str(said["code"]), str(said["detail"])
    except (ValueError, KeyError, TypeError):
        return gateway_calls.away(node, f"HTTP {response.status_code}")
    match response.status_code:
        case HTTPStatus.NOT_FOUND:
            return NoSuchFile(detail)
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return TooLarge(detail)
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            return BadInput({"mode" if code == "bad_mode" else "path": [detail]})
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return Unavailable(detail, code)
        case _:
            return InvalidState(detail, code)
