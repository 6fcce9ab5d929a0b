"""A lease as people read it: what is left, when it ends, and what happens then."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from vms.presenting.amounts import NBSP

from ..models import Sandbox
from ..states import LeaseStatus

SOON = timedelta(minutes=15)
STEPS = (15, 30, 60, 120, 240, 480, 1440, 2880, 4320, 10080)  # the leases that forms offer, in minutes
USUAL_EXTENSION = 60


def left(span: timedelta) -> str:
    """Return time left as people say it: 2 d 4 h, 3 h 44 min, 40 min, 12:02. The script counts on from it."""
    seconds = max(0, int(span.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return _("%(d)s d %(h)s h").replace(" ", NBSP) % {"d": days, "h": hours % 24}
    if hours:
        return _("%(h)s h %(m)s min").replace(" ", NBSP) % {"h": hours, "m": f"{minutes % 60:02}"}
    if span >= SOON:
        return _("%(m)s min").replace(" ", NBSP) % {"m": minutes}
    return f"{minutes}:{seconds % 60:02}"


def ends_in(span: timedelta) -> str:
    """Return time left as a sentence says it, in whole minutes, below one in seconds: 16 h 48 min, 12 min, 41 s."""
    seconds = max(0, int(span.total_seconds()))
    if seconds >= 3600:
        return left(span)
    if seconds < 60:
        return _("%(s)s s").replace(" ", NBSP) % {"s": seconds}
    return _("%(m)s min").replace(" ", NBSP) % {"m": seconds // 60}


def duration(minutes: int) -> str:
    """Return whole minutes in their largest unit: 30 minutes, 2 hours, 1 day."""
    if minutes % 1440 == 0:
        return ngettext("%(n)s day", "%(n)s days", minutes // 1440) % {"n": minutes // 1440}
    if minutes % 60 == 0:
        return ngettext("%(n)s hour", "%(n)s hours", minutes // 60) % {"n": minutes // 60}
    return ngettext("%(n)s minute", "%(n)s minutes", minutes) % {"n": minutes}


def choices(default: int) -> list[tuple[int, str]]:
    """Return the leases that a form offers: usual ones within policy, and the default."""
    least, most = settings.SANDBOX_LEASE_MINUTES
    found = {minutes for minutes in STEPS if least <= minutes <= most} | {min(default, most)}
    return [(minutes, duration(minutes)) for minutes in sorted(found)]


@dataclass(frozen=True, slots=True)
class LeaseView:
    """One sandbox's clock at a moment."""

    sandbox: Sandbox
    now: datetime

    @property
    def status(self) -> LeaseStatus:
        """What the clock does."""
        return self.sandbox.lease_status

    @property
    def until(self) -> datetime | None:
        """What the page counts down to: the end, or once it has come, the end of the grace period."""
        if self.status == LeaseStatus.ENDED:
            return self.sandbox.grace_until
        return self.sandbox.expires_at if self.status == LeaseStatus.RUNNING else None

    @property
    def span(self) -> timedelta:
        """What is left until then; of a clock that stands still, what it will go on with."""
        if self.status == LeaseStatus.PAUSED:
            return self.sandbox.left(self.now)
        return max(timedelta(0), self.until - self.now) if self.until else timedelta(0)

    @property
    def text(self) -> str:
        """The same in words."""
        return left(self.span)

    @property
    def total_seconds(self) -> int:
        """What the ring is a share of."""
        if self.status == LeaseStatus.ENDED:
            return int(settings.SANDBOX_GRACE.total_seconds())
        return max(60 * self.sandbox.lease_minutes, int(self.span.total_seconds()), 1)

    @property
    def share(self) -> str:
        """How much of the ring is drawn, of 100."""
        return f"{max(1.0, min(100.0, 100 * self.span.total_seconds() / self.total_seconds)):.1f}"

    @property
    def tone(self) -> str:
        """The class that colours it."""
        if self.status != LeaseStatus.RUNNING:
            return "held"
        return "soon" if self.span <= SOON else ""

    @property
    def ending(self) -> bool:
        """Is its end so near that people are told?"""
        begins = self.sandbox.warn_from
        return self.status == LeaseStatus.RUNNING and begins is not None and begins <= self.now

    @property
    def ends_in(self) -> str:
        """What is left, as a sentence says it. The script counts on from it."""
        return ends_in(self.span)

    @property
    def ends_at(self) -> datetime | None:
        """When the lease is or was over."""
        return self.sandbox.ended_at or self.sandbox.expires_at

    @property
    def extension(self) -> int:
        """By how many minutes one press extends it: an hour, or less where policy leaves less; 0 where nothing."""
        _least, most = settings.SANDBOX_LEASE_MINUTES
        room = most - math.ceil(self.span.total_seconds() / 60)  # a minute that has begun is left, too
        return max(0, min(USUAL_EXTENSION, room)) if self.status != LeaseStatus.ENDED else 0

    @property
    def extension_text(self) -> str:
        """The button's words."""
        return _("Extend %(time)s") % {"time": duration(self.extension)}

    @property
    def grace_text(self) -> str:
        """How long an ended sandbox is kept."""
        return duration(int(settings.SANDBOX_GRACE.total_seconds()) // 60)
