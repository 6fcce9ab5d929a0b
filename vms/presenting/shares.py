"""Who and what uses a quota: machines and members by their share of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.dimensions import Dimension

from ..states import Status
from . import amounts
from .cards import VmCard

_ON = (Status.RUNNING, Status.PAUSED)


@dataclass(frozen=True, slots=True)
class Share:
    """One line: who, how much of the whole in use, and a bar for it."""

    label: str
    amount: str
    width: str
    spoken: str
    glyph: str = ""
    note: str | Promise = ""
    href: str = ""
    on: bool = True


def _share(dimension: str, label: str, value: int, whole: int, **more: object) -> Share:
    amount = amounts.amount(dimension, value)
    spoken = _("%(who)s uses %(amount)s of %(whole)s in use") % {
        "who": label,
        "amount": amount,
        "whole": amounts.amount(dimension, whole),
    }
    width = f"{100 * value / whole if whole else 0:.2f}%"
    return Share(label=label, amount=amount, width=width, spoken=spoken, **more)  # type: ignore[arg-type]


def amount_of(card: VmCard, dimension: str) -> int:
    """Return what a machine takes of a dimension; one of it, where machines are counted."""
    return int(getattr(card.vm, dimension)) if dimension != Dimension.VMS else 1


def vm_shares(cards: Iterable[VmCard], dimension: str, whole: int, others: tuple[int, int]) -> list[Share]:
    """Return a line for each machine and one for the `others`: (how many, how much they use together)."""
    lines = [
        _share(
            dimension,
            card.vm.name,
            amount_of(card, dimension),
            whole,
            glyph=card.status,
            note="" if card.status == Status.RUNNING else Status(card.status).label,
            href=reverse("vms:detail", args=[card.vm.pk]),
            on=card.status in _ON,
        )
        for card in cards
    ]
    count, together = others
    if count:
        text = ngettext("%(n)s more", "%(n)s more", count) % {"n": count}
        lines.append(_share(dimension, text, together, whole, glyph="todo"))
    return lines


def member_shares(used: Iterable[tuple[str, int, int]], dimension: str, whole: int) -> list[Share]:
    """Return a line for each (name, number of machines, amount)."""
    return [
        _share(
            dimension,
            name,
            amount,
            whole,
            note=ngettext("%(n)s machine", "%(n)s machines", machines) % {"n": machines},
        )
        for name, machines, amount in used
    ]
