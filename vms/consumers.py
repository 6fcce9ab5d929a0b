"""Live status for browsers: hints in, fragments out.

A hint of the channel layer says that something changed. What is sent is read again from the database, for
this reader, and rendered with the template that made the page.

The browser says what it shows: {"kind": a name in `TEMPLATES` or "hint", "shown": {id: version},
"all": bool, "projects": bool} (machines of everybody, for staff; with their projects' names). What has changed
since those versions is sent at once, so nothing is missed between the page and the socket; nor is the end of an
operation of the reader's own, for which it says "since": the server's time that it last heard. The page of an
operation shows its machine, and says "operation": its id. It gets
{"type": "fragment", "target", "html"}, {"type": "changed"} (read the page again), {"type": "gone", "vm"}, or
{"type": "say", "text"} for the end of an operation of its own. Every message bears the server's time.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone, translation
from django.utils.dateparse import parse_datetime

from accounts.access import as_uuid
from accounts.models import User
from accounts.refusals import NotVisible
from accounts.services import session_is_live

from .broadcast import STAFF_GROUP, project_group
from .models import Operation, VirtualMachine
from .presenting.fragments import TEMPLATES, Fragment, render
from .presenting.operation_page import render_operation
from .presenting.sentences import CAME_TRUE, FAILED
from .queries import project_ids_of
from .states import OperationStatus

log = structlog.get_logger(__name__)
SIGNED_OUT = 4401
TOO_SLOW = 4408
PAUSE_SECONDS = 0.5  # a machine is swapped at most twice a second, however many hints arrive
SEND_TIMEOUT_SECONDS = 10.0  # a browser that does not read is let go: it re-reads when it is back
WATCHED_AT_MOST = 200
MISSED_AT_MOST = timedelta(minutes=1)  # what ended before that is no news any more
# A page bears the time at which it was written, after its rows were read; and an end is committed after its time.
HEARD_LATE = timedelta(seconds=1)
LONGEST_MESSAGE = 16 * 1024
# pages that are about one machine: others do not concern them
OF_ONE_MACHINE = ("machine", "console", "sandbox", "operation")


class StatusConsumer(AsyncJsonWebsocketConsumer):
    """One browser page. Hints are collected; one task re-reads, renders and sends."""

    user: User
    language: str

    async def connect(self) -> None:
        """Accept signed-in people; others are told by the close code, which the handshake could not carry."""
        self.groups_joined: set[str] = set()
        self.kind, self.shown, self.everything = "hint", set[str](), False
        self.context: dict[str, Any] = {}
        self.operation: UUID | None = None
        self.changed: set[str] = set()
        self.ended: set[str] = set()
        self.said: set[str] = set()  # what the database told who caught up, the channel layer may tell again
        self.caught_up = False
        self.news = asyncio.Event()
        self.sender: asyncio.Task[None] | None = None
        user: object = self.scope.get("user")
        await self.accept()
        if not isinstance(user, User) or not await self._still_signed_in(user):
            await self.close(SIGNED_OUT)
            return
        self.user = user
        self.language = _language_of(self.scope)
        await self._join()
        self.sender = asyncio.create_task(self._send_news())
        await self._say({"type": "hello"})

    async def disconnect(self, code: int) -> None:
        """Leave the groups and stop the sender."""
        for group in getattr(self, "groups_joined", set()):
            await self.channel_layer.group_discard(group, self.channel_name)
        if self.sender is not None:
            self.sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.sender

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Take small JSON objects only; anything else ends the connection."""
        if not text_data or len(text_data) > LONGEST_MESSAGE:
            await self.close(1009)
            return
        try:
            content = await self.decode_json(text_data)
        except (ValueError, RecursionError):
            await self.close(1003)
            return
        if isinstance(content, dict):
            await self.receive_json(content)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Note what the page shows now."""
        kind, shown = content.get("kind"), content.get("shown")
        self.kind = kind if isinstance(kind, str) and kind in TEMPLATES else "hint"
        versions = dict(list(shown.items())[:WATCHED_AT_MOST]) if isinstance(shown, dict) else {}
        self.shown = set(versions)
        self.context = {"show_project": content.get("projects") is True}
        self.operation = as_uuid(str(content.get("operation"))) if self.kind == "operation" else None
        if self.kind == "operation" and self.operation is None:
            self.kind = "hint"
        everything = content.get("all") is True and self.user.is_staff
        if everything != self.everything:
            self.everything = everything
            await self._join()
        # a step of an operation counts no version up: its page is sent as it is now
        stale = self.shown if self.operation else await database_sync_to_async(_changed_since)(versions)
        if not self.caught_up:  # from then on hints tell
            self.caught_up = True
            missed = await database_sync_to_async(_ended_since)(self.user, content.get("since"))
            self.ended |= missed  # not in one statement: the sender may take the set away during the wait
        if stale or self.ended:
            self.changed |= stale
            self.news.set()

    async def hint(self, message: dict[str, Any]) -> None:
        """Collect a hint of the channel layer; never waits, so that the layer's queue cannot grow."""
        if message["kind"] == "vm":
            self.changed.add(message["id"])
        elif message["kind"] == "operation":
            self.changed.add(message.get("vm", ""))
            self.ended.add(message["id"])
        else:  # a node, a limit: whatever is shown may look different now
            self.changed |= self.shown or {""}
        self.news.set()

    async def _join(self) -> None:
        """Join the groups of the reader's projects, and that of staff while a page shows everybody's."""
        wanted = {project_group(project) for project in await database_sync_to_async(project_ids_of)(self.user)}
        if self.everything:
            wanted.add(STAFF_GROUP)
        for group in wanted - self.groups_joined:
            await self.channel_layer.group_add(group, self.channel_name)
        for group in self.groups_joined - wanted:
            await self.channel_layer.group_discard(group, self.channel_name)
        self.groups_joined = wanted

    async def _send_news(self) -> None:
        """Send what was collected, then pause; ends the connection of someone who is no longer signed in."""
        try:
            while True:
                await self.news.wait()
                self.news.clear()
                if not await self._still_signed_in(self.user):
                    await self.close(SIGNED_OUT)
                    return
                vms, self.changed = self.changed, set()
                operations, self.ended = self.ended - self.said, set()
                await self._send_vms(vms)
                for operation, sentence in (await self._outcomes(operations)).items():
                    self.said.add(operation)
                    await self._say({"type": "say", "text": sentence})
                await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            await self.close(TOO_SLOW)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("status_push_failed")
            await self.close(1011)

    async def _send_vms(self, vms: set[str]) -> None:
        """Send the machines that the page shows; however many others changed, it is told once to read again."""
        shown = set() if self.kind == "hint" else vms & self.shown
        for vm_id in sorted(shown):
            await self._send_vm(vm_id)
        if vms - shown and self.kind not in OF_ONE_MACHINE:
            await self._say({"type": "changed"})

    async def _send_vm(self, vm_id: str) -> None:
        fragment = await self._render(vm_id)
        if fragment is None:
            await self._say({"type": "gone", "vm": vm_id})
        else:
            await self._say({"type": "fragment", "target": fragment.target, "html": fragment.html})

    async def _say(self, message: dict[str, Any]) -> None:
        message["now"] = timezone.now().isoformat(timespec="milliseconds")
        await asyncio.wait_for(self.send_json(message), SEND_TIMEOUT_SECONDS)

    @database_sync_to_async
    def _render(self, vm_id: str) -> Fragment | None:
        with translation.override(self.language):
            try:
                if self.operation:
                    return render_operation(self.user, self.operation)
                return render(self.kind, self.user, vm_id, **self.context)
            except NotVisible:
                return None

    @database_sync_to_async
    def _outcomes(self, operation_ids: set[str]) -> dict[str, str]:
        """Return one sentence for each operation of the reader's own that has just ended."""
        found: set[UUID] = {known for one in operation_ids if (known := as_uuid(one))}
        if not found:
            return {}
        rows = Operation.objects.filter(pk__in=found, actor=self.user).order_by("finished_at")
        with translation.override(self.language):
            return {str(row.pk): sentence for row in rows if (sentence := _outcome(row))}

    async def _still_signed_in(self, user: User) -> bool:
        session = self.scope.get("session")
        key = str(session.session_key or "") if session is not None else ""
        return await database_sync_to_async(session_is_live)(key, user.pk)


def _changed_since(versions: Mapping[str, object]) -> set[str]:
    """Return which machines are no longer as the page shows them; who may see them is asked when they are sent."""
    known = {found: seen for one, seen in versions.items() if (found := as_uuid(one))}
    now = dict(VirtualMachine.objects.filter(pk__in=known).values_list("pk", "version"))
    return {str(pk) for pk, seen in known.items() if now.get(pk) != seen}


def _ended_since(user: User, since: object) -> set[str]:
    """Return which operations of the reader's own ended after the page last heard of the server.

    Ends bear the database's time and pages this host's: what they have in common is how long ago something was.
    """
    heard = _time(since)
    if heard is None:
        return set()
    ago = min(max(timezone.now() - heard, timedelta()) + HEARD_LATE, MISSED_AT_MOST)
    rows = Operation.objects.filter(actor=user, finished_at__gt=Now() - ago)
    return {str(pk) for pk in rows.values_list("pk", flat=True)}


def _time(text: object) -> datetime | None:
    """Return a time that a browser says, if it is one and has a zone."""
    try:
        found = parse_datetime(str(text))
    except ValueError:
        return None
    return found if found is not None and timezone.is_aware(found) else None


def _outcome(operation: Operation) -> str:
    if operation.status == OperationStatus.SUCCEEDED:
        return str(CAME_TRUE.get(operation.kind, "")) % {"name": operation.vm_name}
    if operation.status == OperationStatus.FAILED:
        return f"{FAILED.get(operation.kind, operation.kind)}, {operation.vm_name}: {operation.error_detail}"
    return ""


def _language_of(scope: Mapping[str, Any]) -> str:
    """Return the reader's language as the page's middleware chooses it: cookie, then browser."""
    wanted = scope.get("cookies", {}).get(settings.LANGUAGE_COOKIE_NAME, "")
    headers = dict(scope.get("headers", []))
    accepted = headers.get(b"accept-language", b"").decode("latin-1")
    for code in [wanted, *(part.split(";")[0].strip() for part in accepted.split(","))]:
        try:
            return translation.get_supported_language_variant(code)
        except LookupError:
            continue
    return settings.LANGUAGE_CODE
