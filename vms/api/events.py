"""Status push for programs."""

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Router

from .door import actor
from .feed import open_feed

routes = Router(tags=["events"])
STREAM = {
    "200": {
        "description": "Server-sent events `vm`, `operation` ({id, version}) and `missed`: read everything again.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@routes.get("events", response=None, openapi_extra={"responses": STREAM})
async def stream_events(request: HttpRequest) -> StreamingHttpResponse:
    """Stream hints that something you may see has changed. Read it again after each, and after every reconnect."""
    feed = await open_feed(actor(request))
    return StreamingHttpResponse(feed, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
