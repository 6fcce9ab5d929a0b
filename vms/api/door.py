"""The door of every route: who calls, how often, and whether this very call was answered before.

Refusals leave it as exceptions; the portal turns them into problem documents.
"""

import hashlib
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from ninja import Router

from accounts.actor import Actor
from accounts.authentication import SAFE, actor_of
from accounts.models import User
from accounts.refusals import BadInput, NotVisible
from accounts.retrying import retried
from accounts.throttling import take

from .. import idempotency
from ..models import IdempotencyRecord

Run = Callable[..., HttpResponse]
KEY_HEADER = "Idempotency-Key"
KEY = re.compile(r"[!-~]{1,200}")
PASSING = frozenset({401, 429})  # and 5xx: answers that say nothing about the request itself are not kept


class _NotKept(Exception):
    """Undoes the transaction of an answer that is not kept."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__()
        self.response = response


def router(tag: str, *, keys: bool = True) -> Router:
    """Return a router whose unsafe calls are counted, and whose POSTs take an Idempotency-Key unless `keys` is off.

    It is off for calls that answer with a secret: those must not be stored.
    """
    made = Router(tags=[tag])
    made.add_decorator(_with_keys if keys else _counted, mode="view")
    return made


def actor(request: HttpRequest) -> Actor:
    """Return who calls a view behind authentication."""
    found: Actor = request.auth  # type: ignore[attr-defined]
    return found


def caller(request: HttpRequest) -> User:
    return actor(request).who


def staff(request: HttpRequest) -> Actor:
    """Return who calls, if staff; to others there is no such thing."""
    found = actor(request)
    if not found.who.is_staff:
        raise NotVisible
    return found


def _counted(run: Run) -> Run:
    @wraps(run)
    def inner(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        who = actor_of(request)
        if who is not None and request.method not in SAFE:
            take("change", who.who.pk)
        return run(request, **kwargs)

    return inner


def _with_keys(run: Run) -> Run:
    @wraps(run)
    def inner(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        who = actor_of(request)
        key = request.headers.get(KEY_HEADER)
        if who is None or key is None or request.method != "POST":
            return run(request, **kwargs)
        return _once(run, request, who.who, key, **kwargs)

    return _counted(inner)


def _once(run: Run, request: HttpRequest, user: User, key: str, **kwargs: Any) -> HttpResponse:
    """Do the work and keep the answer, in one transaction; or repeat the answer that was kept."""
    if not KEY.fullmatch(key):
        raise BadInput({KEY_HEADER: [_("A key has 1 to 200 ASCII characters, without blanks.")]})
    record = idempotency.begin(user, key, _fingerprint(request))
    if isinstance(record, idempotency.Answer):
        return _replay(record)
    try:
        response = _answered(run, request, record, **kwargs)
    except _NotKept as passing:
        idempotency.forget(record)
        return passing.response
    except BaseException:
        idempotency.forget(record)
        raise
    return response


@retried
@transaction.atomic
def _answered(run: Run, request: HttpRequest, record: IdempotencyRecord, **kwargs: Any) -> HttpResponse:
    response = run(request, **kwargs)
    if response.status_code in PASSING or response.status_code >= 500:
        raise _NotKept(response)
    idempotency.finish(record, response.status_code, response.content.decode())
    return response


def _fingerprint(request: HttpRequest) -> str:
    head = f"{request.method} {request.path}\n".encode()
    return hashlib.sha256(head + request.body).hexdigest()


def _replay(answer: idempotency.Answer) -> HttpResponse:
    problem = answer.status >= 400
    content_type = "application/problem+json" if problem else "application/json; charset=utf-8"
    headers = {"Idempotency-Replayed": "true"}
    return HttpResponse(answer.body, status=answer.status, content_type=content_type, headers=headers)
