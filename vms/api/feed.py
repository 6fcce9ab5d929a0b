"""Status for programs: hints of the channel layer as server-sent events, ids and versions only.

What a program may see is looked up again before every batch, and every few seconds: a stream ends within seconds
of its owner's rights. Hints are collected by thing, so a slow reader gets fewer events and costs no memory.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import structlog
from channels.db import database_sync_to_async
from channels.layers import BaseChannelLayer, get_channel_layer
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from accounts.actor import Actor
from accounts.models import User
from accounts.refusals import TooMany, Unavailable
from accounts.services import live_tokens, session_is_live

from ..broadcast import STAFF_GROUP, project_group
from ..queries import project_ids_of

log = structlog.get_logger(__name__)
CHECK_SECONDS = 4.0  # how long a right that was taken away may live on, at most
HEARTBEAT_SECONDS = 15.0
PAUSE_SECONDS = 0.25  # a thing is told of at most four times a second
PENDING_AT_MOST = 1000  # things; a reader that is further behind is told to read everything again
PROBE_SECONDS = 2.0
RETRY_AFTER_SECONDS = 30
_open: Counter[UUID] = Counter()  # streams of this process, by user


async def open_feed(actor: Actor) -> AsyncIterator[bytes]:
    """Return the stream of what this caller may see; TooMany, Unavailable while Redis is away."""
    if _open[actor.who.pk] >= settings.EVENT_STREAMS_PER_USER:
        raise TooMany(RETRY_AFTER_SECONDS, _("Too many event streams are open. Close one."))
    try:
        await asyncio.wait_for(_layer().group_send("probe", {"type": "probe"}), PROBE_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever Redis does, it is away
        log.warning("event_feed_without_redis", error=type(error).__name__)
        raise Unavailable(_("Events cannot be had just now. Poll, or try again in a moment.")) from None
    return _Feed(actor).stream()


def _layer() -> BaseChannelLayer:
    layer = get_channel_layer()
    assert layer is not None  # settings.CHANNEL_LAYERS
    return layer


class _Feed:
    """One open stream."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.layer = _layer()
        self.groups: set[str] = set()
        self.pending: dict[tuple[str, str], dict[str, Any]] = {}
        self.missed = False
        self.news = asyncio.Event()

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield events until the caller's rights end. Everything that has to be given back is taken in here."""
        user_id = self.actor.who.pk
        _open[user_id] += 1
        channel = await self.layer.new_channel()
        collector = asyncio.create_task(self._collect(channel))
        try:
            if await self._allowed(channel):
                yield b": connected\n\n"
            async for batch in self._batches(channel, collector):
                yield batch
        finally:
            _open[user_id] -= 1
            for group in self.groups:
                with contextlib.suppress(Exception):  # Redis may be away: then there is nothing to leave
                    await self.layer.group_discard(group, channel)
            collector.cancel()
            await asyncio.wait([collector])

    async def _batches(self, channel: str, collector: asyncio.Task[None]) -> AsyncIterator[bytes]:
        heard = time.monotonic()
        while await self._allowed(channel) and not collector.done():  # done: Redis went; the reader comes again
            batch = self._take()
            if batch or time.monotonic() - heard >= HEARTBEAT_SECONDS:
                heard = time.monotonic()
                yield batch or b": heartbeat\n\n"
                await asyncio.sleep(PAUSE_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), CHECK_SECONDS)
            self.news.clear()

    async def _collect(self, channel: str) -> None:
        """Note hints as they come. Never waits for the reader, so the layer's queue cannot grow behind it."""
        while True:
            message = await self.layer.receive(channel)
            if message.get("type") != "hint" or message["kind"] not in ("vm", "operation"):
                continue
            if len(self.pending) >= PENDING_AT_MOST:
                self.pending.clear()
                self.missed = True
            self.pending[message["kind"], message["id"]] = message
            self.news.set()

    def _take(self) -> bytes:
        """Return what came since the last time and may still be seen, as events."""
        pending, self.pending = self.pending, {}
        missed, self.missed = self.missed, False
        seen = [m for m in pending.values() if STAFF_GROUP in self.groups or m["group"] in self.groups]
        events = [_event(m["kind"], {key: m[key] for key in ("id", "version", "vm") if key in m}) for m in seen]
        return b"".join([_event("missed", {})] * missed + events)

    async def _allowed(self, channel: str) -> bool:
        """Look up what the caller may see now and listen to exactly that; False when they are shut out."""
        wanted = await database_sync_to_async(groups_of)(self.actor)
        if wanted is None:
            return False
        for group in wanted - self.groups:
            await self.layer.group_add(group, channel)
        for group in self.groups - wanted:
            await self.layer.group_discard(group, channel)
        self.groups = wanted
        return True


def groups_of(actor: Actor) -> set[str] | None:
    """Return the groups whose hints this caller may get, or None when their login or token no longer holds."""
    user = User.objects.filter(pk=actor.who.pk, is_active=True).first()
    if user is None or not _still_signed_in(actor):
        return None
    if user.is_staff:
        return {STAFF_GROUP}
    return {project_group(project) for project in project_ids_of(user)}


def _still_signed_in(actor: Actor) -> bool:
    if actor.token_id is not None:
        return live_tokens().filter(pk=actor.token_id).exists()
    return session_is_live(actor.session_key, actor.who.pk)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
