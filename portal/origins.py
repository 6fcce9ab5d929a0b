"""The Origin check of websockets: exactly one header, exactly one of our origins, or HTTP 403.

Channels' own validators accept a missing Origin and do not compare scheme and port (A3).
"""

from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def origin_of(scope: Scope) -> str | None:
    """Return the one Origin header; None when there is none; "" when there are several or it is not ASCII."""
    values = [value for name, value in scope.get("headers", []) if name.lower() == b"origin"]
    if not values:
        return None
    if len(values) > 1:
        return ""
    try:
        return str(values[0].decode("ascii"))
    except UnicodeDecodeError:
        return ""


class ExactOrigin:
    """Refuses every websocket whose Origin is not one of the portal's."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if origin_of(scope) in settings.PORTAL_ORIGINS:
            await self.app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 4403})
