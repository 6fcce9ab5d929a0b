"""A machine as pages show it: status, reason, place, size, and which verbs make sense now."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from accounts.access import Verb, allows

from ..models import Operation, VirtualMachine
from ..models.sample import last_sample
from ..states import OperationKind, Role, Status, display_status, may_begin
from . import amounts
from .operations import OperationCard
from .sentences import REASONS
from .verbs import Button, again_button, cancel_button, delete_button, main_verb, more_verbs, power_verbs

_PLAIN_CANCEL = (
    OperationKind.CREATE,
    OperationKind.START,
)  # a stop is ended by forcing off, not by cancelling
# its lease decides when a sandbox may run; what is left is asked of the guest as it stands
_OF_A_SANDBOX = {OperationKind.STOP, OperationKind.REBOOT, OperationKind.FORCE_OFF}
_WITH_SCREEN = (Status.RUNNING, Status.PAUSED, Status.CREATING)


@dataclass(frozen=True, slots=True)
class VmCard:
    """A machine for one reader. `role` is theirs in its project, None for staff who are no members."""

    vm: VirtualMachine
    live: Operation | None
    failed: Operation | None
    role: str | None
    is_staff: bool
    now: datetime

    @property
    def cpu_load(self) -> str:
        """What its processors do, such as 3.1 %; "" where it does not run or was not sampled twice."""
        sample = last_sample(self.vm) if self.status == Status.RUNNING else None
        if sample is None or sample.cpu_percent is None:
            return ""
        return f"{amounts.figure(sample.cpu_percent)}{amounts.NBSP}%"

    @property
    def memory_load(self) -> str:
        """How much of its memory the guest uses; "" where the guest does not tell."""
        sample = last_sample(self.vm) if self.status == Status.RUNNING else None
        return amounts.mib(sample.memory_used_mib) if sample and sample.memory_used_mib else ""

    @property
    def _display(self) -> tuple[str, str]:
        live_kind = self.live.kind if self.live else ""
        return display_status(self.vm.facts(live_kind), self.now, settings.NODE_AWAY_AFTER)

    @property
    def status(self) -> str:
        """What people see: one of `vms.states.Status`."""
        return self._display[0]

    @property
    def reason(self) -> str:
        """The code that says more about the status, or nothing."""
        return self._display[1]

    @property
    def headline(self) -> str | Promise:
        """The reason in a few words."""
        return REASONS[self.reason][0] if self.reason in REASONS else ""

    @property
    def explanation(self) -> str | Promise:
        """What the reason means, and the way out."""
        return REASONS[self.reason][1] if self.reason in REASONS else ""

    @property
    def seen_at(self) -> datetime | None:
        """When its node last compared what it has with what we know."""
        return self.vm.node.synced_at

    @property
    def operation(self) -> OperationCard | None:
        """The work under way, else the last failure that still explains the status."""
        if self.live:
            return OperationCard(self.live)
        if self.failed and self.status in (Status.ERROR, Status.ABSENT):
            return OperationCard(self.failed)
        return None

    @property
    def addresses(self) -> list[str]:
        """The addresses that its cards were given."""
        return [nic.address for nic in self.vm.nics.all()]

    @property
    def size(self) -> str:
        """Processors and memory."""
        return amounts.size(self.vm.vcpus, self.vm.memory_mib)

    @property
    def has_screen(self) -> bool:
        """Can a screenshot be had now?"""
        if self.status == Status.CREATING:
            return self.vm.observed_state == "running"
        return self.status in _WITH_SCREEN

    @property
    def may_console(self) -> bool:
        """May this reader open its console, and is there one?"""
        return self.has_screen and allows(self.role, Verb.CONSOLE)

    @property
    def may_change(self) -> bool:
        """May this reader power, resize and delete it?"""
        return allows(self.role, Verb.CHANGE, self.is_staff)

    @property
    def verbs(self) -> frozenset[str]:
        """The kinds of operation that can be asked for now."""
        if not self.may_change or self.status == Status.UNKNOWN:
            return frozenset()
        live_kind = self.live.kind if self.live else ""
        legal = {kind for kind in OperationKind if may_begin(kind, self.vm.observed_state, live_kind)}
        if self.vm.role != Role.MACHINE:
            legal &= _OF_A_SANDBOX
        if self.reason == "create_failed":
            legal.discard(OperationKind.START)  # there is no whole machine to start: the create is tried again
        return frozenset() if self.status == Status.DELETING else frozenset(legal)

    @property
    def main_verb(self) -> Button | None:
        """The button that fits the moment."""
        if self.live and OperationCard(self.live).may_cancel and self.live.kind in _PLAIN_CANCEL and self.may_change:
            return cancel_button(self.live.id)
        if self.retry:
            return self.retry
        return main_verb(self.vm.id, self.verbs, self.live.kind if self.live else "")

    @property
    def menu_verbs(self) -> list[Button]:
        """The other buttons."""
        return more_verbs(self.vm.id, self.verbs, may_change=self.may_change and self.status != Status.DELETING)

    @property
    def power_menu(self) -> list[Button]:
        """The other power buttons alone, for the console."""
        shown = self.main_verb.url if self.main_verb else ""
        return [button for button in power_verbs(self.vm.id, self.verbs) if button.url != shown]

    @property
    def retry(self) -> Button | None:
        """Try again what failed half-way; other verbs are simply pressed again."""
        if self.live or not self.may_change or self.vm.role != Role.MACHINE:
            return None
        if self.reason == "create_failed":
            return again_button(self.vm.id)
        if self.reason == "delete_failed":
            return delete_button(self.vm.id, _("Delete again"))
        return None

    @property
    def screen_url(self) -> str:
        """Where a picture of its screen is had."""
        return f"/api/v1/vms/{self.vm.id}/screenshot"

    @property
    def note(self) -> str:
        """The line under the pill when nothing is under way."""
        if self.headline:
            return str(self.headline)
        since = self.vm.started_at if self.status == Status.RUNNING else self.vm.observed_at
        return self._for(since)

    def _for(self, since: datetime | None) -> str:
        if since is None:
            return ""
        span = amounts.span(since, self.now)
        words = {
            Status.RUNNING: _("Up %(span)s"),
            Status.STOPPED: _("Off for %(span)s"),
            Status.PAUSED: _("Paused for %(span)s"),
            Status.SUSPENDED: _("Asleep for %(span)s"),
            Status.CRASHED: _("Crashed %(span)s ago"),
        }
        return words.get(Status(self.status), "") % {"span": span} if Status(self.status) in words else ""


def card(
    vm: VirtualMachine,
    *,
    live: Operation | None,
    role: str | None,
    is_staff: bool,
    failed: Operation | None = None,
    now: datetime | None = None,
) -> VmCard:
    """Return a machine as this reader sees it now; it comes from `queries.with_details`."""
    return VmCard(vm, live, failed, role, is_staff, now or timezone.now())
