"""Commands in a guest, in words."""

from dataclasses import dataclass

from django.urls import reverse
from django.utils.translation import gettext as _

from vms.presenting import amounts

from ..isolation import is_check
from ..models import Run
from ..models.run import OUTPUT_CAP_BYTES
from ..states import RunStatus, why

KIB = 1024


def size(count: int) -> str:
    """Return bytes with a unit: 212 B, 3.1 KiB, 4 MiB."""
    if count < KIB:
        return _("%(n)s B").replace(" ", amounts.NBSP) % {"n": amounts.figure(count)}
    if count < KIB * KIB:
        return _("%(n)s KiB").replace(" ", amounts.NBSP) % {"n": amounts.figure(count / KIB)}
    return amounts.mib(count / KIB / KIB)


@dataclass(frozen=True, slots=True)
class RunView:
    """One run for the history and its page."""

    run: Run

    @property
    def title(self) -> str:
        """The command as it was given; the isolation check by its name."""
        if is_check(self.run):
            return _("Isolation check")
        return self.run.command or " ".join(str(word) for word in self.run.argv)

    @property
    def is_check(self) -> bool:
        """Is it the isolation check? That one has a place of its own."""
        return is_check(self.run)

    @property
    def glyph(self) -> str:
        """Its silhouette: done, failed, or under way."""
        if self.run.is_live:
            return "busy" if self.run.status == RunStatus.RUNNING else "wait"
        return "ok" if self.run.exit_code == 0 else "no"

    @property
    def seconds(self) -> float | None:
        """How long it ran, or None."""
        if self.run.started_at is None or self.run.finished_at is None:
            return None
        return max(0.0, (self.run.finished_at - self.run.started_at).total_seconds())

    @property
    def outcome(self) -> str:
        """How it ended, or that it has not."""
        run = self.run
        if run.status == RunStatus.EXITED:
            return _("exit code %(n)s") % {"n": run.exit_code}
        if run.status == RunStatus.TIMED_OUT:
            return _("stopped at its limit of %(n)s s") % {"n": run.timeout_seconds}
        if run.status == RunStatus.RUNNING and run.kill_requested_at:
            return _("being stopped")
        return str(RunStatus(run.status).label)

    @property
    def problem(self) -> str:
        """Why it has no exit code, in a sentence; "" where the outcome says it."""
        return why(self.run.error_code, self.run.error_detail)

    @property
    def amount(self) -> str:
        """How much it said."""
        return size(self.run.stdout_bytes + self.run.stderr_bytes)

    @property
    def cut(self) -> str:
        """What was not kept, in a sentence; "" where all was."""
        if not (self.run.stdout_truncated or self.run.stderr_truncated):
            return ""
        return _("It said more than is kept: %(cap)s of each stream.") % {"cap": size(OUTPUT_CAP_BYTES)}

    @property
    def url(self) -> str:
        """Its page."""
        return reverse("sandboxes:run", args=[self.run.pk])

    @property
    def stop_url(self) -> str:
        """Where its end is asked for."""
        return reverse("sandboxes:kill", args=[self.run.pk])
