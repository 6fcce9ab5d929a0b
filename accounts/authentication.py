"""Who calls the API: a bearer token, or the session cookie of a browser with its CSRF token.

A header that names a token is final: where it is wrong, no cookie is looked at.
"""

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from .actor import Actor
from .models import ApiToken, User
from .refusals import Forbidden
from .services import authenticate_token

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_KNOWN = "_slipway_actor"


def actor_of(request: HttpRequest) -> Actor | None:
    """Return who calls, or None for nobody; Forbidden for a read token that wants to write, and without CSRF token.

    Looked up once a request.
    """
    if not hasattr(request, _KNOWN):
        header = request.headers.get("Authorization", "")
        setattr(request, _KNOWN, _by_token(request, header) if header else _by_session(request))
    known: Actor | None = getattr(request, _KNOWN)
    return known


def _by_token(request: HttpRequest, header: str) -> Actor | None:
    scheme, _space, secret = header.partition(" ")
    token = authenticate_token(secret.strip()) if scheme.lower() == "bearer" else None
    if token is None:
        return None
    if token.scope == ApiToken.Scope.READ and request.method not in SAFE:
        raise Forbidden(_("This token may only read. Make one that may change things."), code="read_only_token")
    return Actor.of(request, token)


def _by_session(request: HttpRequest) -> Actor | None:
    if not (isinstance(request.user, User) and request.user.is_active):
        return None
    if check_csrf(request) is not None:
        raise Forbidden(_("A request with a cookie needs the CSRF token in the header X-CSRFToken."), code="csrf")
    return Actor.of(request)


class TokenAuth(AuthBase):
    """`Authorization: Bearer slw_...`."""

    openapi_type = "http"
    openapi_scheme = "bearer"

    def __call__(self, request: HttpRequest) -> Actor | None:
        return actor_of(request) if "Authorization" in request.headers else None


class SessionAuth(AuthBase):
    """The session cookie; unsafe methods need `X-CSRFToken` too."""

    openapi_type = "apiKey"
    openapi_in = "cookie"

    def __init__(self, cookie_name: str) -> None:
        self.openapi_name = cookie_name
        super().__init__()

    def __call__(self, request: HttpRequest) -> Actor | None:
        return None if "Authorization" in request.headers else actor_of(request)
