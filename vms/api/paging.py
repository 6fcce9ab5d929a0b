"""The manners of lists: `?limit=` (at most 100) and `&cursor=`, answered with {items, next}."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from django.db.models import Model, QuerySet
from pydantic import BaseModel, BeforeValidator, Field

from accounts import keyset

from ..queries import PAGE_LIMIT
from .shapes import Page

Row = TypeVar("Row", bound=Model)
Shown = TypeVar("Shown")


def _at_most(value: Any) -> Any:
    """Cap a limit that is too large: who asks for a billion gets a page."""
    long = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) > 2
    return PAGE_LIMIT if long else value


class PageParams(BaseModel):
    """The query of every list."""

    limit: Annotated[int, BeforeValidator(_at_most)] = Field(50, ge=1, description="Items a page, at most 100.")
    cursor: str = Field("", max_length=500, description="The cursor that the page before ended with.")


def paged(rows: QuerySet[Row], keys: Sequence[str], wanted: PageParams, show: Callable[[Row], Shown]) -> Page[Shown]:
    """Return the page that is wanted of `rows`, sorted by `keys` (see accounts.keyset.page); BadInput."""
    return shown(keyset.page(rows, keys, wanted.limit, wanted.cursor), show)


def shown(found: keyset.Page[Row], show: Callable[[Row], Shown]) -> Page[Shown]:
    """Return a page of rows as the API shows it."""
    return Page(items=[show(row) for row in found.items], next=found.next or None)
