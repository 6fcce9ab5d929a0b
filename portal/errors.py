"""Error pages and, below /api/, problem documents: what happened, what it does not affect, the way out."""

import sys
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.refusals import Refusal

from .problems import problem

_Text = str | Promise
_PLAIN: dict[int, tuple[str, _Text]] = {
    400: ("bad_request", _("The request could not be understood. Nothing was changed.")),
    403: ("forbidden", _("You are not allowed to do this.")),
    404: ("not_found", _("There is no such page, or it is not yours to see.")),
    500: ("internal", _("Something broke on our side. Your machines are not affected.")),
}
# status -> what happened, and what it means; the code's own sentence stands where it says more
_PAGES: dict[int, tuple[_Text, _Text]] = {
    400: (
        _("This request makes no sense to us"),
        _("It could not be understood, so nothing was changed. Go back and try again."),
    ),
    403: (_("You may not do this"), _("You see it, but your role does not allow this. Nothing was changed.")),
    404: (
        _("There is no such page, or it is not yours to see"),
        _(
            "The address may be mistyped, the machine deleted, or your access to its project ended. "
            "We do not say which."
        ),
    ),
    429: (_("That was too fast"), _("Wait a moment, then try again. Nothing was changed.")),
    500: (_("Something broke on our side"), _("Your machines keep running. The operators have the details.")),
    503: (
        _("Something we depend on is away"),
        _("Your machines keep running. Try again in a moment; nothing was changed."),
    ),
}
# a connection that broke at a commit does not tell which it was, so "nothing was changed" would be too much
_NO_DATABASE = _(
    "The database does not answer just now; your machines keep running. "
    "If you asked for a change, look whether it was made before you ask again."
)
_SOON_SECONDS = 5
_OTHER = (_("This did not work"), _("Nothing was changed."))
_WITH_NUMBER = 500  # from here on staff need the request's id to find what happened


def answer(request: HttpRequest, status: int, code: str, detail: _Text, **extra: Any) -> HttpResponse:
    """Return an error in the shape that the caller can read: a problem document or a page."""
    if request.path.startswith("/api/"):
        return problem(status, code, str(detail), **extra)
    return HttpResponse(page(request, status, detail), status=status)


def page(request: HttpRequest, status: int, detail: _Text) -> str:
    """Return the page's text. No context processor runs: neither database nor session may be needed here."""
    title, text = _PAGES.get(status, _OTHER)
    said_nothing_more = status in _PLAIN and detail == _PLAIN[status][1]
    context = {
        "request": request,
        "status": status,
        "title": title,
        "text": text if said_nothing_more else detail,
        "request_id": getattr(request, "slipway_id", "") if status >= _WITH_NUMBER else "",
        "again": request.get_full_path() if status >= _WITH_NUMBER and request.method == "GET" else "",
    }
    return render_to_string("error.html", context)


def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    return answer(request, refusal.status, refusal.code, refusal.detail, **refusal.extra)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, 400, *_PLAIN[400])


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say the sentence that came with the refusal, where one came."""
    code, detail = _PLAIN[403]
    return answer(request, 403, code, str(exception) or detail)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, 404, *_PLAIN[404])


def server_error(request: HttpRequest) -> HttpResponse:
    """Say what broke: a database that is away, or too busy, is no error of ours and passes.

    Django calls this while it handles the exception, wherever that came from: view, middleware or session.
    """
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        response = answer(request, 503, "unavailable", _NO_DATABASE)
        response["Retry-After"] = str(_SOON_SECONDS)
        return response
    return answer(request, 500, *_PLAIN[500])


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The form came without its token: an old page, blocked cookies, or another site's doing."""
    return answer(
        request,
        403,
        "csrf",
        _("This page was too old, or cookies are blocked. Go back, reload the page, try again."),
    )
