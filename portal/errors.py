"""Error pages and, below /api/, problem documents: what happened, what it does not affect, the way out."""

from typing import Any

from accounts.refusals import Refusal
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from .problems import problem

_TEXTS: dict[int, tuple[str, str | Promise]] = {
    400: ("bad_request", _("The request could not be understood. Nothing was changed.")),
    403: ("forbidden", _("You are not allowed to do this.")),
    404: ("not_found", _("There is no such page, or it is not yours to see.")),
    500: ("internal", _("Something broke on our side. Your machines are not affected.")),
}


def answer(request: HttpRequest, status: int, code: str, detail: str | Promise, **extra: Any) -> HttpResponse:
    """Return an error in the shape that the caller can read: a problem document or a page."""
    if request.path.startswith("/api/"):
        return problem(status, code, str(detail), **extra)
    context = {"status": status, "code": code, "detail": detail, "request_id": getattr(request, "slipway_id", "")}
    return render(request, "error.html", context, status=status)


def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    return answer(request, refusal.status, refusal.code, refusal.detail, **refusal.extra)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, 400, *_TEXTS[400])


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, 403, *_TEXTS[403])


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, 404, *_TEXTS[404])


def server_error(request: HttpRequest) -> HttpResponse:
    return answer(request, 500, *_TEXTS[500])


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The form came without its token: an old page, blocked cookies, or another site's doing."""
    return answer(
        request, 403, "csrf", _("This page was too old, or cookies are blocked. Go back, reload the page, try again.")
    )
