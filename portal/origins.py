"""The Origin check of web's websockets: exactly one header, exactly one of our origins, or HTTP 403.

Channels' own validators accept a missing Origin and do not compare scheme and port (A3).
"""

from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from accounts.origins import origin_of

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class ExactOrigin:
    """Refuses every websocket whose Origin is not one of the portal's."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if origin_of(scope) in settings.PORTAL_ORIGINS:
            await self.app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 4403})
