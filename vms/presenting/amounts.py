"""Figures with their units as people read them: 62.5 GiB, 4, 62,5 Gio."""

from datetime import datetime, timedelta

from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from accounts.dimensions import Dimension

NBSP = "\u00a0"
MIB_PER_GIB = 1024
_MEMORY = (Dimension.MEMORY_MIB, Dimension.RUNNING_MEMORY_MIB)


def figure(value: float) -> str:
    """Return at most one decimal, and none where it would be a zero."""
    rounded = round(value, 1)
    return number_format(rounded, decimal_pos=None if rounded % 1 else 0, use_l10n=True, force_grouping=True)


def gib(value: float) -> str:
    """Return GiB with their unit."""
    return _("%(n)s GiB").replace(" ", NBSP) % {"n": figure(value)}


def mib(value: float) -> str:
    """Return MiB with a unit, in GiB from one GiB on."""
    if value >= MIB_PER_GIB:
        return gib(value / MIB_PER_GIB)
    return _("%(n)s MiB").replace(" ", NBSP) % {"n": figure(value)}


def amount(dimension: str, value: int) -> str:
    """Return an amount of a quota's dimension with its unit; counts have none."""
    if dimension in _MEMORY:
        return mib(value)
    if dimension == Dimension.DISK_GIB:
        return gib(value)
    return figure(value)


def bare(dimension: str, value: int) -> str:
    """Return the first figure of "n of m": memory in GiB without the unit, like the limit beside it."""
    if dimension in _MEMORY:
        return figure(value / MIB_PER_GIB)
    return figure(value)


def whole(dimension: str, value: int) -> str:
    """Return the second figure of "n of m": the unit stands here, always GiB for memory."""
    return gib(value / MIB_PER_GIB) if dimension in _MEMORY else amount(dimension, value)


def size(vcpus: int, memory_mib: int) -> str:
    """Return "2 vCPU, 4 GiB"."""
    return _("%(vcpus)s vCPU, %(memory)s") % {"vcpus": f"{vcpus}", "memory": mib(memory_mib)}


def label(dimension: str) -> str | Promise:
    """Return a dimension's name."""
    return Dimension(dimension).label


def seconds(value: float) -> str:
    """Return a short duration: 12 ms, 0.6 s, 41 s, 2 min 5 s."""
    if value < 0.1:
        return f"{round(value * 1000)}{NBSP}ms"
    if value < 10:
        return f"{figure(value)}{NBSP}s"
    if value < 60:
        return f"{round(value)}{NBSP}s"
    return f"{int(value) // 60}{NBSP}min{NBSP}{int(value) % 60}{NBSP}s"


def span(since: datetime, now: datetime) -> str:
    """Return how long ago a moment is, in its largest unit: 3 days, 2 hours, under a minute."""
    if now - since < timedelta(minutes=1):
        return _("under a minute")
    return timesince(since, now, depth=1)
