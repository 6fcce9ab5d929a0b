"""Refusals: what a service raises when the answer is no, with a code for programs and a sentence for people.

Views and API turn them into a page, a field error or a problem document; nobody else catches them.
"""

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Refusal(Exception):
    """A refusal with its HTTP status, its code, a sentence, and members for the problem document."""

    status = 409
    code = "refused"

    def __init__(self, detail: str | Promise = "", code: str = "", **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.extra = extra


class NotVisible(Refusal):
    """What you may not see does not exist: the same answer as for a random id."""

    status = 404
    code = "not_found"

    def __init__(self) -> None:
        super().__init__(_("There is no such thing, or it is not yours to see."))


class Forbidden(Refusal):
    """You see it, but your role does not allow this."""

    status = 403
    code = "forbidden"


class InvalidState(Refusal):
    """The machine is in no state for this."""

    code = "invalid_state"


class OperationInProgress(Refusal):
    """Another operation on this machine is under way."""

    code = "operation_in_progress"


class QuotaExceeded(Refusal):
    """`extra["quota"]`: a list of {scope, dimension, limit, used, requested, short, frees}."""

    code = "quota_exceeded"


class BadInput(Refusal):
    """`extra["fields"]`: {field name: [sentence, ...]}."""

    status = 422
    code = "invalid"

    def __init__(self, fields: dict[str, list[str | Promise]]) -> None:
        super().__init__(_("Some fields are not acceptable."), fields=fields)

    @property
    def fields(self) -> dict[str, list[str | Promise]]:
        found: dict[str, list[str | Promise]] = self.extra["fields"]
        return found


class Unavailable(Refusal):
    """Something that we depend on is away; trying again later is right."""

    status = 503
    code = "unavailable"


class TooMany(Refusal):
    """Too many requests of one user. `retry_after` is in whole seconds."""

    status = 429
    code = "too_many_requests"

    def __init__(self, retry_after: int, detail: str | Promise = "") -> None:
        super().__init__(detail or _("Too many requests. Wait a little, then try again."))
        self.retry_after = retry_after
