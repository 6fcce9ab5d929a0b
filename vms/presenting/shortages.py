"""A quota refusal for people: a sentence for each dimension that is short, and machines whose end helps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from .amounts import amount, label

SHOWN_WAYS_OUT = 3


@dataclass(frozen=True, slots=True)
class WayOut:
    """A machine that could make room."""

    vm_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What a refusal says: `sentences`, and `ways_out` without repeats."""

    sentences: list[str]
    ways_out: list[WayOut]


def shortfall(quota: Iterable[Mapping[str, Any]], project: str, member: str) -> Shortfall:
    """Put a refusal's `quota` member into words. `project` and `member` are whose limits they are."""
    found = list(quota)
    ways: dict[str, str] = {}
    for short in found:
        for free in short["frees"]:
            ways.setdefault(free["vm"], free["name"])
    return Shortfall(
        [_sentence(short, member if short["scope"] == "member" else project) for short in found],
        [WayOut(vm_id, name) for vm_id, name in list(ways.items())[:SHOWN_WAYS_OUT]],
    )


def _sentence(short: Mapping[str, Any], who: str) -> str:
    def said(key: str) -> str:
        return amount(short["dimension"], short[key])

    text = _(
        "%(what)s: %(who)s may use %(limit)s and uses %(used)s. This needs %(requested)s, so %(short)s are missing."
    )
    return text % {
        "what": label(short["dimension"]),
        "who": who,
        **{key: said(key) for key in ("limit", "used", "requested", "short")},
    }
