"""Pages found by key and not by counting: page 200 costs what page 1 does, and rows that come do not shift it."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet, Subquery
from django.utils.translation import gettext_lazy as _

from .refusals import BadInput

T = TypeVar("T", bound=Model)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, and opaque cursors to the pages around them ("" at the ends)."""

    items: list[T]
    next: str = ""
    previous: str = ""


def page(rows: QuerySet[T], keys: Sequence[str], limit: int, cursor: str = "") -> Page[T]:
    """Return a page of `rows` sorted by `keys`; BadInput for a cursor that is not ours.

    The keys are fields that are never null and end with the primary key or another unique one; they all go up,
    or all down ("-at", "-id").
    """
    down = keys[0].startswith("-")
    names = [key.removeprefix("-") for key in keys]
    backwards, values = _read(cursor, len(keys)) if cursor else (False, [])
    if values:
        try:
            rows = rows.filter(_beyond(names, _exact(rows, names, values), "lt" if down != backwards else "gt"))
        except (ValueError, TypeError, ValidationError):  # the values are not of the fields' types
            raise _not_ours() from None
    sign = "-" if down != backwards else ""
    found = list(rows.order_by(*(sign + name for name in names))[: limit + 1])
    more, items = len(found) > limit, found[:limit]
    if backwards:
        items.reverse()
    if not items:
        return Page(items)
    return Page(
        items,
        next=_cursor(items[-1], names, backwards=False) if more or backwards else "",
        previous=_cursor(items[0], names, backwards=True) if (more if backwards else bool(cursor)) else "",
    )


def _exact(rows: QuerySet[T], names: Sequence[str], values: Sequence[Any]) -> list[Any]:
    """Let the database itself read the moments of the cursor's row; BadInput once that row is gone.

    SQLite compares moments as text, and those that it wrote (a default of Now()) have fewer digits than Django's.
    """
    if None not in values:
        return list(values)
    row: QuerySet[T] = QuerySet(model=rows.model).filter(**{names[-1]: values[-1]})
    if values[-1] is None or not row.exists():
        raise _not_ours()
    return [
        Subquery(row.values(name)[:1]) if value is None else value for name, value in zip(names, values, strict=True)
    ]


def _beyond(names: Sequence[str], values: Sequence[Any], op: str) -> Q:
    """Return the rows that sort after these values: (a, b) > (1, 2) is a > 1, or a = 1 and b > 2."""
    first = Q(**{f"{names[0]}__{op}": values[0]})
    if len(names) == 1:
        return first
    return first | Q(**{names[0]: values[0]}) & _beyond(names[1:], values[1:], op)


def _cursor(row: Model, names: Sequence[str], *, backwards: bool) -> str:
    """Return where a page ends or begins. A moment is left out: the row of the last key has it."""
    values = [getattr(row, name) for name in names]
    shown = [None if isinstance(v, datetime) else v if isinstance(v, int) else str(v) for v in values]
    plain = [backwards, *shown]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def _read(cursor: str, length: int) -> tuple[bool, list[Any]]:
    try:
        backwards, *values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, binascii.Error):
        raise _not_ours() from None
    if not isinstance(backwards, bool) or len(values) != length or not all(_plain(value) for value in values):
        raise _not_ours()
    return backwards, values


def _plain(value: Any) -> bool:
    """A number that a column can hold, text that a database takes, or None for a moment."""
    return (
        value is None
        or (isinstance(value, int) and abs(value) < 2**63)
        or (isinstance(value, str) and value.isprintable())
    )


def _not_ours() -> BadInput:
    return BadInput({"cursor": [_("This cursor is not one of ours. Start again without it.")]})
