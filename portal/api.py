"""The REST API below /api/v1/: its routers, who may call, and how every error is said (RFC 9457)."""

from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.utils.translation import gettext as _
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.operation import Operation

from accounts.authentication import SessionAuth, TokenAuth, actor_of
from accounts.refusals import Refusal, TooMany
from sandboxes.api import isolation, runs, sandboxes, templates
from vms.api import audit, catalogue, consoles, events, me, nodes, operations, projects, tokens, vms

from .complaints import fields_of, unknown_fields
from .middleware import Middleware
from .openapi import completed
from .problems import problem

log = structlog.get_logger(__name__)
PREFIX = "/api/"
ROUTERS = (
    me, catalogue, vms, consoles, operations, templates, sandboxes, isolation, runs, projects, tokens, nodes, audit,
    events,
)  # fmt: skip


class SlipwayAPI(NinjaAPI):
    """django-ninja's API with our operation ids and the errors in the OpenAPI document."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Return the view's name: unique, and what generated clients call their methods."""
        return operation.view_func.__name__

    def get_openapi_schema(self, **options: Any) -> Any:
        return completed(super().get_openapi_schema(**options))


api = SlipwayAPI(
    title="Slipway",
    version="1",
    urls_namespace="api",
    docs_url=None,
    auth=[TokenAuth(), SessionAuth(settings.SESSION_COOKIE_NAME)],
)
for module in ROUTERS:
    api.add_router("", module.routes)
api.add_router("", runs.streams)


@api.exception_handler(Refusal)
def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Say a refusal of a service."""
    headers = {"Retry-After": str(refusal.retry_after)} if isinstance(refusal, TooMany) else None
    return problem(refusal.status, refusal.code, str(refusal.detail), headers, **refusal.extra)


@api.exception_handler(ValidationError)
def invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Say what is wrong with the fields. Who tries fields that do not exist is noted (A20)."""
    if unknown := unknown_fields(error.errors):
        actor = actor_of(request)
        log.warning("unknown_fields", path=request.path, fields=unknown, user=actor.name if actor else "")
    return problem(422, "invalid", _("Some fields are not acceptable."), fields=fields_of(error.errors))


@api.exception_handler(AuthenticationError)
def nobody(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    """Ask who it is."""
    detail = _("Sign in, or send a valid API token as Authorization: Bearer slw_...")
    return problem(401, "not_authenticated", detail, {"WWW-Authenticate": "Bearer"})


@api.exception_handler(HttpError)
def malformed(request: HttpRequest, error: HttpError) -> HttpResponse:
    """Say that the body is no JSON: the one such error that django-ninja raises itself."""
    return problem(400, "malformed", _("The body is not valid JSON."))


@api.exception_handler(RequestDataTooBig)
def too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    """Say that the body is larger than any of ours."""
    return problem(413, "body_too_large", _("The request is larger than any that makes sense here."))


class ApiMiddleware(Middleware):
    """What concerns the API as a whole: refusals at its door, methods that a route does not have, no caching."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Say a refusal that was raised before django-ninja took over."""
        return refused(request, error) if _is_api(request) and isinstance(error, Refusal) else None

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not _is_api(request):
            return response
        if isinstance(response, HttpResponseNotAllowed):
            headers = {"Allow": response.headers["Allow"]}
            response = problem(405, "method_not_allowed", _("This address does not take that method."), headers)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith(PREFIX)
