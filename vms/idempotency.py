"""The memory behind `Idempotency-Key`: a call that is repeated repeats its answer and not its work.

The first call leaves a record in a transaction of its own, so that others see it; the work and the answer are
then stored together, in one. A call that dies in between leaves a record without an answer and no work: it keeps
others waiting for `STALE_AFTER`, then the next one takes its place, and the late one cannot commit any more.
"""

from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.refusals import Refusal
from accounts.retrying import retried

from .models import IdempotencyRecord

KEPT = timedelta(hours=24)
STALE_AFTER = timedelta(seconds=60)


class InFlight(Refusal):
    """The first call with this key has not been answered yet."""

    code = "in_flight"

    def __init__(self) -> None:
        super().__init__(_("The first request with this Idempotency-Key is still under way. Ask again in a second."))


class KeyReused(Refusal):
    """The key came with another request before."""

    status = 422
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(_("This Idempotency-Key was used for another request. Make a new key for a new request."))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the first call was answered."""

    status: int
    body: str


@retried
def begin(user: User, key: str, request_hash: str) -> IdempotencyRecord | Answer:
    """Return a new record to `finish` or `forget`, or the answer to repeat; InFlight, KeyReused.

    Must not be called in a transaction: the record has to be visible before the work begins.
    """
    _forget_outdated(user, key)
    try:
        with transaction.atomic():
            return IdempotencyRecord.objects.create(user=user, key=key, request_hash=request_hash)
    except IntegrityError:
        first = IdempotencyRecord.objects.filter(user=user, key=key).first()
    if first is None:  # forgotten this very moment
        raise InFlight
    if first.request_hash != request_hash:
        raise KeyReused
    if first.status_code is None:
        raise InFlight
    return Answer(first.status_code, first.body)


def finish(record: IdempotencyRecord, status: int, body: str) -> None:
    """Store the answer, in the transaction of the work; InFlight (and so no work) when the record was taken over."""
    rows = IdempotencyRecord.objects.filter(pk=record.pk, status_code=None)
    if not rows.update(status_code=status, body=body):
        raise InFlight


@retried
def forget(record: IdempotencyRecord) -> None:
    """Free the key of a call that did nothing and may be repeated."""
    IdempotencyRecord.objects.filter(pk=record.pk, status_code=None).delete()


def _forget_outdated(user: User, key: str) -> None:
    rows = IdempotencyRecord.objects.filter(user=user, key=key)
    rows.filter(created_at__lt=Now() - KEPT).delete()
    rows.filter(status_code=None, created_at__lt=Now() - STALE_AFTER).delete()
