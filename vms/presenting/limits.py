"""What a change of limits does, said before it is done."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from . import amounts

Limits = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Effect:
    """One dimension that changes. `glyph` is "ok", or "wait" where less than what is used remains."""

    dimension: str
    label: str | Promise
    before: str
    after: str
    sentence: str
    glyph: str


def effects(before: Limits, after: Limits, used: Mapping[str, int]) -> list[Effect]:
    """Return what changes, in the order of the dimensions of `after`."""
    return [
        _effect(dimension, before.get(dimension), limit, used.get(dimension, 0))
        for dimension, limit in after.items()
        if limit != before.get(dimension)
    ]


def limit_text(dimension: str, limit: int | None) -> str:
    """Return a limit with its unit."""
    return _("unlimited") if limit is None else amounts.amount(dimension, limit)


def _effect(dimension: str, before: int | None, after: int | None, used: int) -> Effect:
    over = after is not None and used > after
    return Effect(
        dimension=dimension,
        label=amounts.label(dimension),
        before=limit_text(dimension, before),
        after=limit_text(dimension, after),
        sentence=_sentence(dimension, after, used),
        glyph="wait" if over else "ok",
    )


def _sentence(dimension: str, after: int | None, used: int) -> str:
    if after is None:
        return _("In use: %(used)s. No limit any more.") % {"used": amounts.amount(dimension, used)}
    if used > after:
        return _(
            "In use: %(used)s, so %(over)s too many. Nothing is stopped; growth is refused until it fits again."
        ) % {
            "used": amounts.amount(dimension, used),
            "over": amounts.amount(dimension, used - after),
        }
    return _("In use: %(used)s, so %(left)s are left.") % {
        "used": amounts.amount(dimension, used),
        "left": amounts.amount(dimension, after - used),
    }
