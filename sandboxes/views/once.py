"""What a form's one-time key has made, kept in the session: sending it twice makes one thing."""

from uuid import UUID

from django.http import HttpRequest

from accounts.access import as_uuid

_MADE = "made-sandboxes"
_KEPT = 20


def made_before(request: HttpRequest) -> UUID | None:
    """Return what this form has made already."""
    found = request.session.get(_MADE, {}).get(request.POST.get("request_key", ""))
    return as_uuid(found) if found else None


def remember(request: HttpRequest, made: UUID) -> None:
    """Note what this form has made."""
    key = request.POST.get("request_key", "")[:100]
    if key:
        kept = dict(list(request.session.get(_MADE, {}).items())[-_KEPT:])
        request.session[_MADE] = kept | {key: str(made)}
