"""An operation as its steps: what is done, what is under way, where it failed and why."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from ..models import Operation
from ..states import CANCELLABLE, OperationKind, OperationStatus
from ..steps import STEPS, STOPPED, steps_of
from .sentences import CANCELLED, DOING, DONE, FAILED

_BAR_WIDTH, _GAP = 54.0, 2.0


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step: its state is "done", "now", "todo" or "fail"."""

    state: str
    label: str | Promise
    seconds: float | None = None
    since: datetime | None = None
    why: str | Promise = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of the small bar: its class, where it starts and how wide it is."""

    kind: str
    start: str
    width: str


@dataclass(frozen=True, slots=True)
class OperationCard:
    """An operation in words."""

    operation: Operation

    @property
    def is_live(self) -> bool:
        """Is it still under way?"""
        return self.operation.is_live

    @property
    def failed(self) -> bool:
        """Did it end without its result?"""
        return self.operation.status == OperationStatus.FAILED

    @property
    def title(self) -> str | Promise:
        """What it does, did, or did not manage."""
        kind = self.operation.kind
        words = {
            OperationStatus.SUCCEEDED: DONE,
            OperationStatus.FAILED: FAILED,
            OperationStatus.CANCELLED: CANCELLED,
        }.get(OperationStatus(self.operation.status), DOING)
        return words.get(kind) or DOING.get(kind) or self.operation.get_kind_display()  # a kind of a newer version

    @property
    def glyph(self) -> str:
        """The silhouette that stands before it in a list."""
        return {"succeeded": "ok", "failed": "no", "cancelled": "todo"}.get(self.operation.status, "busy")

    @property
    def seconds(self) -> float | None:
        """How long it took, from the wish to its end."""
        operation = self.operation
        if operation.finished_at is None:
            return None
        return max(0.0, (operation.finished_at - operation.created_at).total_seconds())

    @property
    def may_cancel(self) -> bool:
        """Can it still be stopped half-way?"""
        operation = self.operation
        return operation.is_live and operation.kind in CANCELLABLE and not operation.cancel_requested

    @property
    def steps(self) -> list[StepLine]:
        """Its steps in their order; a create begins with what the service did in its own transaction."""
        operation = self.operation
        if operation.kind not in STEPS:
            return [self._of_a_newer_version()]
        found = steps_of(operation.kind, operation.starts)
        names = [step.name for step in found]
        at = names.index(operation.step) if operation.step in names else 0
        took = dict(operation.step_times)
        lines = []
        if operation.kind == OperationKind.CREATE:
            lines.append(StepLine("done", _("Quota reserved, placed on %(node)s") % {"node": operation.node.name}))
        for index, step in enumerate(found):
            if operation.status == OperationStatus.SUCCEEDED or index < at:
                lines.append(StepLine("done", step.done, took.get(step.name)))
            elif index > at:
                lines.append(StepLine("todo", step.done))
            else:
                lines.append(self._current(step.doing, step.done, step.name))
        return lines

    def _of_a_newer_version(self) -> StepLine:
        """All that can be said of an operation whose kind this version does not know."""
        operation = self.operation
        if operation.is_live:
            return self._current(self.title, self.title, operation.step)
        state = "done" if operation.status == OperationStatus.SUCCEEDED else "fail"
        return StepLine(state, self.title, why=operation.error_detail)

    def _current(self, doing: str | Promise, done: str | Promise, name: str) -> StepLine:
        operation = self.operation
        if operation.status == OperationStatus.FAILED:
            began, ended = operation.step_at, operation.finished_at
            took = max(0.0, (ended - began).total_seconds()) if began and ended and operation.step == name else None
            return StepLine("fail", doing, took, why=operation.error_detail)
        if not operation.is_live:
            return StepLine("todo", done)
        if operation.is_parked:
            why = _("The worker of %(node)s does not know this step. It goes on by itself once that is updated.")
            since = operation.step_at or operation.created_at
            return StepLine(
                "now", _("Waiting for a newer worker"), since=since, why=why % {"node": operation.node.name}
            )
        why = ""
        if operation.attempt > 1:
            why = _("Attempt %(n)s.") % {"n": operation.attempt}
        if operation.cancel_requested:
            why = _("Being cancelled.")
        if operation.status == OperationStatus.PENDING and operation.attempt == 0:
            return StepLine("now", _("Waiting for the node to take it"), since=operation.created_at)
        return StepLine("now", doing, since=operation.step_at or operation.created_at, why=why)

    @property
    def segments(self) -> list[Segment]:
        """The small bar beside a status: one piece a step."""
        kinds = {"done": "d", "now": "n", "todo": "o", "fail": "f"}
        states = [line.state for line in self.steps]
        width = (_BAR_WIDTH - _GAP * (len(states) - 1)) / len(states)
        return [
            Segment(kinds[state], f"{index * (width + _GAP):.1f}", f"{width:.1f}") for index, state in enumerate(states)
        ]

    @property
    def now_at(self) -> int:
        """The number of the step under way, from 1."""
        states = [line.state for line in self.steps]
        return next((i for i, state in enumerate(states, 1) if state in ("now", "fail")), len(states))

    @property
    def doing(self) -> str | Promise:
        """The step under way, in words."""
        return next((line.label for line in self.steps if line.state in ("now", "fail")), self.title)

    @property
    def gives_up_at(self) -> datetime | None:
        """When a guest that was asked to shut down is no longer waited for; None for other steps."""
        operation = self.operation
        if operation.is_live and operation.kind == OperationKind.STOP and operation.step == STOPPED.name:
            return (operation.step_at or operation.created_at) + settings.STOP_WAIT
        return None
