"""How full the nodes are: processors, memory and disk, running and allocated, against what there is."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _

from accounts.dimensions import Dimension

from ..models import StoragePool
from ..overview import NodeView
from ..placement import MEMORY_OVERCOMMIT
from . import amounts
from .gauges import NEAR, Part

GIB = 2**30
Figures = tuple[int, int, int]  # running, allocated, and the whole


@dataclass(frozen=True, slots=True)
class Level:
    """One bar: a node, a pool, or all of them together. `parts` are per cents of the bar."""

    name: str
    glyph: str
    percent: str
    text: str
    parts: tuple[Part, ...]
    tone: str = ""

    @property
    def spoken(self) -> str:
        """The bar in one sentence."""
        return self.name + _(": ") + self.text


def _parts(whole: float, *pieces: tuple[str, float]) -> tuple[Part, ...]:
    """Return the pieces one after the other; each is (kind, how far it reaches)."""
    found, at = [], 0.0
    for kind, reach in pieces:
        end = min(100.0, 100 * reach / whole) if whole else (100.0 if reach else 0.0)
        if end > at:
            found.append(Part(kind, f"{at:.2f}%", f"{end - at:.2f}%"))
            at = end
    return tuple(found)


def _tone(share: float) -> str:
    return "sw-full" if share >= 1 else "sw-near" if share >= NEAR else ""


def _percent(share: float) -> str:
    return _("%(n)s %%") % {"n": round(100 * share)}


def _level(name: str, glyph: str, dimension: Dimension, figures: Figures, more: str = "") -> Level:
    running, allocated, whole = figures
    share = allocated / whole if whole else 0.0
    text = _("%(running)s running, %(allocated)s allocated, of %(whole)s") % {
        "running": amounts.amount(dimension, running),
        "allocated": amounts.amount(dimension, allocated),
        "whole": amounts.amount(dimension, whole),
    }
    parts = _parts(max(whole, allocated), ("used", running), ("alt", allocated))
    return Level(name, glyph, _percent(share), text + more, parts)


def _glyph(view: NodeView) -> str:
    if view.away:
        return "unknown"
    return "ok" if view.ok else "error"


def processors(nodes: list[NodeView], promised: int | None) -> list[Level]:
    """Return processors, all nodes first. Promising more than there are is usual: they are shared."""
    return _levels(Dimension.VCPUS, nodes, lambda v: (v.vcpus_running, v.vcpus, v.node.vcpus), promised)


def memory(nodes: list[NodeView], promised: int | None) -> list[Level]:
    """Return memory, all nodes first. New machines start where less than 1.5 times the memory is promised."""
    together, *found = _levels(
        Dimension.MEMORY_MIB, nodes, lambda v: (v.memory_mib_running, v.memory_mib, v.node.memory_mib), promised
    )
    toned = []
    for view, level in zip(nodes, found, strict=True):
        offered = view.node.memory_mib * MEMORY_OVERCOMMIT
        toned.append(replace(level, tone=_tone(view.memory_mib_running / offered if offered else 0.0)))
    return [together, *toned]


def _levels(
    dimension: Dimension, nodes: list[NodeView], figures_of: Callable[[NodeView], Figures], promised: int | None
) -> list[Level]:
    """Return a level for all nodes together, then one for each."""
    each = [figures_of(view) for view in nodes]
    running, allocated, whole = (sum(figures[which] for figures in each) for which in range(3))
    together = _level(_("All nodes"), "ok", dimension, (running, allocated, whole), _promise(dimension, promised))
    return [
        together,
        *(_level(view.node.name, _glyph(view), dimension, figures) for view, figures in zip(nodes, each, strict=True)),
    ]


def disks(nodes: list[NodeView], promised: int | None) -> list[Level]:
    """Return storage pools. A disk takes what was written to it, and may grow to what was promised."""
    pools = [(view, pool) for view in nodes for pool in view.pools]
    found = [_pool(f"{view.node.name}/{pool.name}", _glyph(view), pool) for view, pool in pools]
    used = sum(pool.capacity_bytes - pool.free_bytes for _view, pool in pools) / GIB
    may = sum(pool.promised_gib for _view, pool in pools)  # type: ignore[attr-defined]
    whole = sum(pool.capacity_bytes for _view, pool in pools) / GIB
    together = _disk(_("All pools"), "ok", used, may, whole)
    return [replace(together, text=together.text + _promise(Dimension.DISK_GIB, promised)), *found]


def _pool(name: str, glyph: str, pool: StoragePool) -> Level:
    used = (pool.capacity_bytes - pool.free_bytes) / GIB
    return _disk(name, glyph, used, pool.promised_gib, pool.capacity_bytes / GIB)  # type: ignore[attr-defined]


def _disk(name: str, glyph: str, used: float, may: int, whole: float) -> Level:
    share = used / whole if whole else 0.0
    text = _("%(used)s in use of %(whole)s; machines' disks may grow to %(may)s") % {
        "used": amounts.gib(used),
        "whole": amounts.gib(whole),
        "may": amounts.gib(may),
    }
    return Level(name, glyph, _percent(share), text, _parts(whole, ("used", used)), _tone(share))


def _promise(dimension: str, promised: int | None) -> str:
    if promised is None:
        return _("; ") + _("quotas promise more than can be counted: one is unlimited")
    return _("; ") + _("quotas promise %(amount)s") % {"amount": amounts.amount(dimension, promised)}
