"""A cap on request bodies in front of Django, whose ASGI handler stores a whole body before any code of ours runs.

A declared length is refused unread; a body that grows (chunked) is refused as soon as it is too long.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings

from .problems import problem

Message = Mapping[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
FILES = re.compile(r"/api/v1/sandboxes/[0-9a-f-]{36}/files")
GONE: Message = {"type": "http.disconnect"}


class BodyLimit:
    """Passes on HTTP requests whose body is at most DATA_UPLOAD_MAX_MEMORY_SIZE bytes; answers others with 413."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = limit_of(scope.get("method", ""), scope.get("path", ""))
        seen = declared_length(scope)
        if seen > limit:
            await _refuse(send, limit)
            return
        seen = 0

        async def counted() -> Message:
            """Tell the application that the caller has gone once the body is too long: it drops what it has."""
            nonlocal seen
            if seen > limit:
                return GONE
            message = await receive()
            seen += len(message.get("body", b""))
            return GONE if seen > limit else message

        async def unless_refused(message: Message) -> None:
            if seen <= limit:
                await send(message)

        await self.app(scope, counted, unless_refused)
        if seen > limit:
            await _refuse(send, limit)


def limit_of(method: str, path: str) -> int:
    """Return how many bytes a body may have: a file on its way into a sandbox is no form (Django keeps it on disk)."""
    if method == "PUT" and FILES.fullmatch(path):
        return int(settings.FILES_AT_MOST_BYTES)
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def declared_length(scope: Scope) -> int:
    """Return the Content-Length, 0 where there is none; what is no number counts as too much."""
    values = [value for name, value in scope.get("headers", []) if name.lower() == b"content-length"]
    return max((int(value) if value.isdigit() else 2**63 for value in values), default=0)


async def _refuse(send: Send, limit: int) -> None:
    response = problem(413, "body_too_large", f"The request is larger than {limit // 1024} KiB.")
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    # closed, because the rest of the body may still be on its way
    await send({"type": "http.response.start", "status": 413, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": response.content})
