"""Templates as pages show them: ready or not, where, how large, and what waiting clones cost."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from vms.models import Operation
from vms.presenting import amounts
from vms.presenting.operations import OperationCard
from vms.states import LIVE

from ..models import Template, TemplateBuild
from ..states import BuildStatus, NetworkMode
from .cards import NETWORK_ICON, NETWORK_SHORT
from .leases import choices, duration

FACES = ("a", "b", "c", "d", "e")


@dataclass(frozen=True, slots=True)
class BuildView:
    """What a template is on one node. `operation` prepares it, if that is under way."""

    build: TemplateBuild
    operation: OperationCard | None
    spares: int
    fits: bool

    @property
    def glyph(self) -> str:
        """Its silhouette."""
        if self.build.status == BuildStatus.BUILDING:
            return "busy"
        if self.build.status == BuildStatus.FAILED:
            return "no"
        return "ok" if self.fits else "wait"

    @property
    def state(self) -> str:
        """Its state in words."""
        if self.build.status == BuildStatus.READY and not self.fits:
            return _("Out of date: its image, size, script, QEMU or machine type has changed")
        return str(BuildStatus(self.build.status).label)

    @property
    def has_screen(self) -> bool:
        """Is there a picture of what went wrong?"""
        return bool(getattr(self.build, "pictured", False))

    @property
    def size(self) -> str:
        """What it takes of the node's disk."""
        return amounts.mib(self.build.size_bytes / 2**20) if self.build.size_bytes else ""


@dataclass(frozen=True, slots=True)
class TemplateCard:
    """A template with its builds, for one reader."""

    template: Template
    builds: tuple[BuildView, ...]
    may_change: bool

    @property
    def face(self) -> str:
        """The colour of its letters."""
        return FACES[sum(self.template.name.encode()) % len(FACES)]

    @property
    def about(self) -> str:
        """What it is, as a sentence; "" where nobody said."""
        said = self.template.description.strip()
        return said if not said or said[-1] in ".!?" else f"{said}."

    @property
    def size(self) -> str:
        """Processors and memory of what is made of it."""
        return amounts.size(self.template.flavor.vcpus, self.template.flavor.memory_mib)

    @property
    def ready(self) -> bool:
        """Can it be cloned somewhere now?"""
        return any(view.fits for view in self.builds)

    @property
    def ready_words(self) -> str:
        """How soon one of it is there, as it was the last time."""
        took = [view.build.ready_ms for view in self.builds if view.fits and view.build.ready_ms is not None]
        if took:
            return _("Ready in %(time)s") % {"time": amounts.seconds(max(took) / 1000)}
        return _("Ready at once") if self.spares else _("Ready in a moment")

    @property
    def boot_words(self) -> str:
        """How long it takes to boot one instead, as it took on the slowest node; "" where none was ever booted."""
        took = [view.build.boot_ms for view in self.builds if view.build.boot_ms is not None]
        return _("boots in about %(time)s") % {"time": amounts.seconds(max(took) / 1000)} if took else ""

    @property
    def building(self) -> BuildView | None:
        """The preparation under way, if any."""
        return next((view for view in self.builds if view.build.status == BuildStatus.BUILDING), None)

    @property
    def failed(self) -> BuildView | None:
        """The newest build, where it failed and nothing else can be cloned."""
        if self.ready or not self.builds or self.builds[0].build.status != BuildStatus.FAILED:
            return None
        return self.builds[0]

    @property
    def spares(self) -> int:
        """How many clones wait now, on all nodes."""
        return sum(view.spares for view in self.builds)

    @property
    def waiting(self) -> str:
        """The same in words."""
        if self.spares:
            return ngettext("%(n)s waiting", "%(n)s waiting", self.spares) % {"n": self.spares}
        if self.ready:
            return _("none waiting")
        return self.boot_words or _("boots from its image")

    @property
    def network_icon(self) -> str:
        """What its sandboxes reach, as a picture."""
        return NETWORK_ICON[NetworkMode(self.template.network)]

    @property
    def defaults(self) -> str:
        """What a sandbox gets if nothing else is chosen."""
        return f"{NETWORK_SHORT[self.template.network]}, {duration(self.template.usual_lease_minutes)}"

    @property
    def networks(self) -> list[tuple[str, str, bool]]:
        """The networks that can be chosen: value, words, whether it is the default."""
        return [(mode, str(NETWORK_SHORT[mode]), mode == self.template.network) for mode in NetworkMode.values]

    @property
    def leases(self) -> list[tuple[int, str, bool]]:
        """The leases that can be chosen."""
        default = self.template.usual_lease_minutes
        return [(minutes, words, minutes == default) for minutes, words in choices(default)]

    @property
    def lease(self) -> str:
        """How long a sandbox of it lives."""
        return duration(self.template.usual_lease_minutes)

    @property
    def idle_cost(self) -> str:
        """What the warm pool costs while nobody uses it, in words."""
        n = self.template.pool_size
        if not n:
            return _("No clone waits: each is copied when somebody asks for it, which takes a moment longer.")
        own = self._idle_mib
        if own is None:
            return ngettext(
                "%(n)s clone waits on each node, paused: no processor time. What it takes of memory is measured once "
                "it waits. It counts against nobody's quota until somebody takes it.",
                "%(n)s clones wait on each node, paused: no processor time. What they take of memory is measured once "
                "one waits. They count against nobody's quota until somebody takes them.",
                n,
            ) % {"n": n}
        return ngettext(
            "%(n)s clone waits on each node, paused: no processor time, and about %(memory)s of memory. "
            "It counts against nobody's quota until somebody takes it.",
            "%(n)s clones wait on each node, paused: no processor time, and about %(memory)s of memory together. "
            "They count against nobody's quota until somebody takes them.",
            n,
        ) % {"n": n, "memory": amounts.mib(n * own)}

    @property
    def _idle_mib(self) -> int | None:
        """What a waiting clone takes of the host's memory, where it takes most; None before one has waited."""
        if not self.template.share_ram:
            return self.template.flavor.memory_mib
        return max((view.build.idle_mib for view in self.builds if view.fits and view.build.idle_mib), default=None)

    @property
    def sharing(self) -> str:
        """What the setting of its memory means."""
        if self.template.share_ram:
            return _(
                "Sandboxes share the memory pages that they have not changed. That saves most of their memory; "
                "a program that measures time very finely may learn which pages another one of this template uses."
            )
        return _(
            "Each sandbox has a copy of the memory for itself. It takes more memory and a little longer; nothing is "
            "to be learned from its neighbours."
        )


def template_cards(
    found: Iterable[Template], spares: Mapping[UUID, int], may_change: Callable[[Template], bool]
) -> list[TemplateCard]:
    """Return templates with their builds; they come from `queries.with_builds`. One query for all.

    `may_change` is `queries.template_gate` of the reader.
    """
    templates = list(found)
    builds = [build for template in templates for build in _shown(template)]
    ids = [build.operation_id for build in builds if build.status == BuildStatus.BUILDING and build.operation_id]
    live = {row.pk: row for row in Operation.objects.filter(pk__in=ids, status__in=LIVE).select_related("node")}
    return [
        TemplateCard(
            template,
            tuple(_view(template, build, live, spares) for build in _shown(template)),
            may_change(template),
        )
        for template in templates
    ]


def _shown(template: Template) -> list[TemplateBuild]:
    """Return the newest build of each node, and the ready one beside it where that is older."""
    found: list[TemplateBuild] = []
    for build in template.shown_builds:  # type: ignore[attr-defined]
        of_node = [one for one in found if one.node_id == build.node_id]
        if not of_node or (build.status == BuildStatus.READY and len(of_node) == 1):
            found.append(build)
    return found


def _view(
    template: Template, build: TemplateBuild, live: Mapping[UUID, Operation], spares: Mapping[UUID, int]
) -> BuildView:
    operation = live.get(build.operation_id) if build.operation_id else None
    waiting = spares.get(build.pk, 0)
    return BuildView(build, OperationCard(operation) if operation else None, waiting, build.fits(template))
