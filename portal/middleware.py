"""Small middleware: a request id for every log line and answer, and a cap on bodies before they are read."""

import uuid
from collections.abc import Awaitable, Callable

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from .body_limit import limit_of
from .problems import problem

Handler = Callable[[HttpRequest], HttpResponseBase]


class Middleware:
    """Sync and async in one: subclasses fill `before` (may answer at once) and `after`."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if iscoroutinefunction(self.get_response):
            return self.acall(request)
        response = self.before(request) or self.get_response(request)
        assert isinstance(response, HttpResponseBase)
        return self.after(request, response)

    async def acall(self, request: HttpRequest) -> HttpResponseBase:
        answer = self.before(request) or self.get_response(request)
        response = answer if isinstance(answer, HttpResponseBase) else await answer
        return self.after(request, response)

    def before(self, request: HttpRequest) -> HttpResponse | None:
        return None

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response


class RequestIdMiddleware(Middleware):
    """Gives every request an id of ours (never the client's), in the logs and in `X-Request-Id`."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        request.slipway_id = uuid.uuid4().hex[:12]  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request.slipway_id)  # type: ignore[attr-defined]
        return None

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response["X-Request-Id"] = request.slipway_id  # type: ignore[attr-defined]
        return response


class BodyLimitMiddleware(Middleware):
    """Refuses a body larger than any form or JSON of ours with 413, before a view reads it."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        declared = request.META.get("CONTENT_LENGTH") or "0"
        limit = limit_of(request.method or "", request.path)
        if not declared.isdigit() or int(declared) > limit:
            return problem(413, "body_too_large", f"The request is larger than {limit // 1024} KiB.")
        return None
