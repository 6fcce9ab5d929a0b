"""Quotas as gauges: how much is used, how much of it runs, what is left. Widths are per cent of the limit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from accounts.dimensions import ALLOCATED, Dimension

from .amounts import amount, bare, label, whole

NEAR = 0.9  # of a limit: from here on a gauge is amber
RUNNING_PART = {
    Dimension.VMS: Dimension.RUNNING_VMS,
    Dimension.VCPUS: Dimension.RUNNING_VCPUS,
    Dimension.MEMORY_MIB: Dimension.RUNNING_MEMORY_MIB,
}


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a bar: its CSS class, where it starts and how wide it is, in per cent."""

    kind: str
    start: str
    width: str


@dataclass(frozen=True, slots=True)
class Gauge:
    """One dimension of a quota. `limit` None is unlimited: there is no bar to fill then."""

    dimension: str
    used: int
    limit: int | None
    running: int | None = None
    parts: tuple[Part, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self._parts()))

    def _parts(self) -> Iterable[Part]:
        if self.limit is None:
            return
        running = min(self.running, self.used) if self.running is not None else self.used
        first, end = self._share(running), self._share(self.used)
        yield Part("used", "0%", f"{first:.2f}%")
        if end > first:
            yield Part("alt", f"{first:.2f}%", f"{end - first:.2f}%")

    def _share(self, value: int) -> float:
        if not self.limit:
            return 100.0 if value else 0.0
        return min(100.0, 100 * value / self.limit)

    @property
    def label(self) -> str | Promise:
        """The dimension's name."""
        return label(self.dimension)

    @property
    def left(self) -> int | None:
        """What may still be used; None where there is no limit."""
        return None if self.limit is None else max(0, self.limit - self.used)

    @property
    def tone(self) -> str:
        """The class that colours it: none, amber near the limit, red at it."""
        if self.limit is None or (self.limit == 0 and self.used == 0):
            return ""
        if self.used >= self.limit:
            return "sw-full"
        return "sw-near" if self.used >= NEAR * self.limit else ""

    @property
    def used_text(self) -> str:
        """The figure in use; with its unit where no limit follows."""
        return amount(self.dimension, self.used) if self.limit is None else bare(self.dimension, self.used)

    @property
    def of_text(self) -> str:
        """What stands after the figure in use."""
        if self.limit is None:
            return _("in use")
        return _("of %(limit)s") % {"limit": whole(self.dimension, self.limit)}

    @property
    def short(self) -> str:
        """The sidebar's line."""
        return f"{self.used_text} {self.of_text}"

    @property
    def left_text(self) -> str:
        """What is left, in words."""
        if self.limit is None or self.left is None:
            return _("No limit")
        if self.used > self.limit:
            over = amount(self.dimension, self.used - self.limit)
            return _("%(n)s over the limit: nothing is stopped, only growth refused") % {"n": over}
        if self.limit == 0:
            return _("None allowed")
        if self.left == 0:
            return _("None left")
        return _("%(n)s left") % {"n": amount(self.dimension, self.left)}

    @property
    def spoken(self) -> str:
        """The bar in one sentence, for those who do not see it."""
        said = f"{self.label}: {self.short}"
        if self.running is None:
            return said
        return _("%(said)s, %(n)s of it running") % {"said": said, "n": amount(self.dimension, self.running)}


def gauges(
    usage: Mapping[str, int], limits: Mapping[str, int | None], dimensions: Iterable[str] = ALLOCATED
) -> list[Gauge]:
    """Return a gauge for each dimension, with its running part where that is counted."""
    return [
        Gauge(
            dimension=dimension,
            used=usage.get(dimension, 0),
            limit=limits.get(dimension),
            running=usage.get(RUNNING_PART[Dimension(dimension)]) if dimension in RUNNING_PART else None,
        )
        for dimension in dimensions
    ]


def tightest(found: Iterable[Gauge]) -> Gauge | None:
    """Return the gauge that runs out first, or None where nothing is limited."""
    limited = [gauge for gauge in found if gauge.limit]
    return max(limited, key=lambda gauge: gauge.used / (gauge.limit or 1), default=None)
