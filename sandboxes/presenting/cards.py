"""A sandbox as pages show it: its machine, its lease, what it may reach, and which verbs make sense now."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.access import Verb, allows
from accounts.models import User
from vms.models import VirtualMachine
from vms.models.sample import last_sample
from vms.presenting import amounts
from vms.presenting.cards import VmCard
from vms.presenting.fragments import cards_for
from vms.presenting.operations import OperationCard
from vms.presenting.verbs import Button
from vms.states import HOLDS_MEMORY, MAKING, DesiredState, ObservedState, OperationKind, Status

from ..models import Run, Sandbox
from ..states import GOING_ON, LeaseStatus, NetworkMode
from .leases import LeaseView

NETWORK_SHORT: dict[str, str | Promise] = {
    NetworkMode.NONE: gettext_lazy("No network"),
    NetworkMode.ISOLATED: gettext_lazy("Isolated"),
    NetworkMode.NAT: gettext_lazy("Out only"),
}
NETWORK_WORDS: dict[str, str | Promise] = {
    NetworkMode.NONE: gettext_lazy("Its network card is unplugged: nothing goes in or out, save through this page."),
    NetworkMode.ISOLATED: gettext_lazy(
        "It is on a network where nothing answers: no host, no neighbours, no Internet, no names."
    ),
    NetworkMode.NAT: gettext_lazy(
        "It reaches the Internet, and nothing else: not this host, not other machines, no private addresses. "
        "Nothing reaches it."
    ),
}
NETWORK_ICON = {NetworkMode.NONE: "lock", NetworkMode.ISOLATED: "shieldok", NetworkMode.NAT: "globe"}
# it has gone off by itself, or was told to at its console
OFF = (ObservedState.STOPPED, ObservedState.CRASHED, ObservedState.PAUSED, ObservedState.SUSPENDED)


def _act(vm: VirtualMachine, verb: str, label: str, icon: str) -> Button:
    return Button(reverse("sandboxes:act", args=[vm.pk, verb]), label, icon)


def _ask(vm: VirtualMachine, name: str, label: str, icon: str, *, bad: bool = False) -> Button:
    return Button(reverse(f"sandboxes:{name}", args=[vm.pk]), label, icon, dialog=True, bad=bad)


@dataclass(frozen=True, slots=True)
class SandboxCard:
    """A sandbox for one reader. `run` is the command that runs in it now, if the caller looked for one."""

    sandbox: Sandbox
    card: VmCard
    run: Run | None
    now: datetime

    @property
    def vm(self) -> VirtualMachine:
        """The machine that it is."""
        return self.card.vm

    @property
    def lease(self) -> LeaseView:
        """Its clock."""
        return LeaseView(self.sandbox, self.now)

    @property
    def ended(self) -> bool:
        """Is its lease over, and it kept on disk for a while?"""
        return self.lease.status == LeaseStatus.ENDED

    @property
    def ending(self) -> bool:
        """Does its lease end so soon that its page says so?"""
        return self.lease.ending and not self.going

    @property
    def going(self) -> bool:
        """Is it being deleted, or was it to be?"""
        return self.vm.desired_state == DesiredState.DELETED

    @property
    def own_memory(self) -> str:
        """What it takes of its host's memory for itself; "" where it shares none, or was not looked at yet."""
        sample = last_sample(self.vm)
        return amounts.mib(sample.own_memory_mib) if sample and sample.own_memory_mib else ""

    @property
    def network_short(self) -> str | Promise:
        """What it may reach, in two words."""
        return NETWORK_SHORT[self.sandbox.network]

    @property
    def network_words(self) -> str | Promise:
        """What it may reach, in a sentence."""
        return NETWORK_WORDS[self.sandbox.network]

    @property
    def network_icon(self) -> str:
        """The same as a picture."""
        return NETWORK_ICON[NetworkMode(self.sandbox.network)]

    @property
    def sealed(self) -> bool:
        """Does it reach nothing at all?"""
        return self.sandbox.network != NetworkMode.NAT

    @property
    def may_change(self) -> bool:
        """May this reader use its verbs now? Not once it is being deleted."""
        return self.card.may_change and not self.going

    @property
    def holds_memory(self) -> bool:
        """Is it on, in whatever state?"""
        return self.vm.observed_state in HOLDS_MEMORY

    @property
    def may_run(self) -> bool:
        """May this reader run commands in it and move files, and does it listen?"""
        return self.card.may_console and self.vm.observed_state == ObservedState.RUNNING and not self.busy

    @property
    def may_start_runs(self) -> bool:
        """The same, also while it is being made: commands wait for it then."""
        being_made = self.card.live is not None and self.card.live.kind in MAKING
        return self.may_run or (being_made and allows(self.card.role, Verb.CONSOLE))

    @property
    def busy(self) -> bool:
        """Is something under way that every other verb has to wait for?"""
        return self.card.live is not None

    @property
    def main_verb(self) -> Button | None:
        """What fits the moment: take it back, resume its clock, or a little more time."""
        if not self.may_change or self.busy:
            return None
        if self.ended:
            return _act(self.vm, "restore", _("Take it back"), "play")
        if self.lease.status == LeaseStatus.PAUSED:
            return _act(self.vm, "resume", _("Resume"), "play")
        if self.vm.observed_state in OFF:
            return _act(self.vm, "resume", _("Start"), "play")
        return self.extend

    @property
    def extend(self) -> Button | None:
        """One press, an hour more; None where policy leaves no room."""
        if not self.may_change or self.ended or self.busy or not self.lease.extension:
            return None
        return _act(self.vm, "extend", self.lease.extension_text, "clock")

    @property
    def reset(self) -> Button | None:
        """Back to the clean template."""
        stuck = self.lease.status == LeaseStatus.PAUSED and self.card.failed and self.card.failed.kind in GOING_ON
        at_rest = self.lease.status != LeaseStatus.RUNNING and not stuck
        if not self.may_change or at_rest or self.card.status in (Status.CREATING, Status.UNKNOWN):
            return None
        return _ask(self.vm, "reset", _("Reset"), "reboot")

    @property
    def pause(self) -> Button | None:
        """Pause the machine and its clock."""
        able = self.vm.observed_state == ObservedState.RUNNING and self.lease.status == LeaseStatus.RUNNING
        if not able or not self.may_change or self.busy:
            return None
        return _act(self.vm, "pause", _("Pause, and its clock"), "pause")

    @property
    def failure(self) -> OperationCard | None:
        """What its last operation came to, where it failed and something can be done about that."""
        failed = self.card.failed
        return OperationCard(failed) if failed is not None and not self.busy and self.ways_out else None

    @property
    def ways_out(self) -> list[Button]:
        """What to do about what failed last: the same again, a clean state, or an end."""
        if self.busy or not self.card.may_change:
            return []
        if self.going:
            again = self.card.reason == "delete_failed"
            return [_ask(self.vm, "delete", _("Delete again"), "trash", bad=True)] if again else []
        kind = self.card.failed.kind if self.card.failed else ""
        if self.card.reason == "create_failed" or kind in MAKING:
            ways = [self.reset and replace(self.reset, label=_("Make it anew")), self._delete]
        elif kind in GOING_ON:
            wake = self.main_verb if self.vm.observed_state in (*OFF, ObservedState.ABSENT) else None
            ways = [wake and replace(wake, label=_("Try again")), self.reset]
        elif kind == OperationKind.SUSPEND:
            ways = [self.pause and replace(self.pause, label=_("Try again"))]
        else:
            ways = []
        return [way for way in ways if way]

    @property
    def _delete(self) -> Button:
        return _ask(self.vm, "delete", _("Delete"), "trash", bad=True)

    @property
    def menu(self) -> list[Button]:
        """The other verbs, deleting last."""
        if not self.may_change:
            return []
        found = []
        if self.main_verb and self.extend and self.main_verb.url != self.extend.url:
            found.append(self.extend)
        if self.pause:
            found.append(self.pause)
        if not self.busy:
            found.append(_ask(self.vm, "keep", _("Keep as a machine"), "keep"))
        found.append(self._delete)
        return found

    @property
    def idle_for(self) -> int:
        """For how many minutes nobody used it; 0 where that is not looked at: its template does not pause for it."""
        watched = self.sandbox.template.idle_minutes and self.lease.status == LeaseStatus.RUNNING
        if not watched or self.run is not None or self.busy or self.vm.observed_state != ObservedState.RUNNING:
            return 0
        return max(0, int((self.now - self.sandbox.used_at).total_seconds()) // 60)

    @property
    def note(self) -> str:
        """The line under the pill when nothing is under way."""
        if self.ended:
            return _("Its time was up. It is kept on disk.")
        if self.lease.status == LeaseStatus.PAUSED:
            return _("Paused, and its clock too")
        if self.run is not None:
            return _("%(command)s is running") % {"command": str(self.run)[:40]}
        if self.idle_for:
            most = self.sandbox.template.idle_minutes
            return _("Idle for %(n)s min; paused after %(most)s min") % {"n": self.idle_for, "most": most}
        return self.card.note


def sandbox_cards(user: User, found: Iterable[Sandbox], now: datetime) -> list[SandboxCard]:
    """Return sandboxes as this reader sees them; they come from `queries.sandboxes_with_details`. Two queries."""
    rows = list(found)
    cards = cards_for(user, [row.vm for row in rows])
    running: dict[object, Run] = {}
    for run in Run.objects.filter(vm__in=[row.vm_id for row in rows], status="running").defer("stdin"):
        running.setdefault(run.vm_id, run)
    return [SandboxCard(row, card, running.get(row.vm_id), now) for row, card in zip(rows, cards, strict=True)]
