"""Errors of the API as RFC 9457 problem details: type, title, status, detail, and our `code`."""

from http import HTTPStatus
from typing import Any

from django.http import JsonResponse


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None, **extra: Any) -> JsonResponse:
    """Return an `application/problem+json` response. `extra` adds members such as `fields` or `quota`."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **extra,
    }
    return JsonResponse(body, status=status, content_type="application/problem+json", headers=headers)
