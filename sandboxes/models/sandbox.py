"""A lease on a machine."""

import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from vms.models import VirtualMachine

from ..states import LeaseStatus, NetworkMode
from .template import Template, TemplateBuild

WARN_SHARE, WARN_SHARE_AT_MOST = 0.1, 0.25  # of a lease


def warning(lease: timedelta) -> timedelta:
    """Return how long before the end of a lease people are warned: a tenth of it, within policy, a quarter at most."""
    least, most = settings.SANDBOX_WARN_BEFORE
    return min(max(lease * WARN_SHARE, least), most, lease * WARN_SHARE_AT_MOST)


class Sandbox(models.Model):
    """What makes a machine a sandbox; its id in URLs is the machine's. Spares have a row too, without a lease.

    The clock runs while `expires_at` is set and `ended_at` is not. While its owner paused it, `remaining_seconds`
    holds what was left. Ended, it is paused to disk and deleted at `grace_until`.
    """

    CLOCK: ClassVar = ("expires_at", "remaining_seconds", "warn_at")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    vm = models.OneToOneField(VirtualMachine, models.CASCADE, related_name="sandbox")
    template = models.ForeignKey(Template, models.PROTECT, related_name="sandboxes")
    build = models.ForeignKey(TemplateBuild, models.PROTECT, null=True, related_name="sandboxes")
    network = models.CharField(max_length=16, choices=NetworkMode, default=NetworkMode.NAT)
    lease_minutes = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField(null=True, blank=True)
    remaining_seconds = models.PositiveIntegerField(null=True, blank=True)
    warn_at = models.DateTimeField(null=True, blank=True, help_text="null: shortly before the end")
    warned_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    grace_until = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(db_default=Now(), help_text="when somebody was last seen using it")
    claimed = models.BooleanField(default=False, help_text="it came from the warm pool")
    plain_reason = models.CharField(max_length=300, blank=True, help_text="why it was booted and not cloned")
    named_at = models.DateTimeField(null=True, blank=True, help_text="when it last acknowledged its identity")
    started_at = models.DateTimeField(null=True, blank=True, help_text="when a person got it")

    class Meta:
        verbose_name_plural = "sandboxes"
        constraints: ClassVar[list[Any]] = [
            models.CheckConstraint(condition=Q(network__in=NetworkMode.values), name="sandbox_network_known"),
            models.CheckConstraint(
                condition=Q(ended_at=None) | Q(grace_until__isnull=False), name="ended_sandbox_has_a_grace"
            ),
        ]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["expires_at"], name="sandbox_by_expiry")]

    def __str__(self) -> str:
        return f"sandbox {self.vm_id}"

    @property
    def lease_status(self) -> LeaseStatus:
        if self.ended_at is not None:
            return LeaseStatus.ENDED
        return LeaseStatus.PAUSED if self.remaining_seconds is not None else LeaseStatus.RUNNING

    @property
    def warn_from(self) -> datetime | None:
        """From when on people are told that its end is near; None while it has none."""
        if self.warn_at is None and self.expires_at is not None:
            return self.expires_at - settings.SANDBOX_WARN_BEFORE[0]
        return self.warn_at

    def run_until(self, end: datetime, now: datetime) -> None:
        """Let the clock run until then, and have people warned in time; the caller saves `CLOCK`."""
        self.expires_at, self.remaining_seconds = end, None
        self.warn_at = end - warning(end - now)

    def left(self, now: datetime) -> timedelta:
        """Return what is left of the lease."""
        if self.ended_at is not None or (self.expires_at is None and self.remaining_seconds is None):
            return timedelta(0)
        if self.remaining_seconds is not None:
            return timedelta(seconds=self.remaining_seconds)
        assert self.expires_at is not None
        return max(self.expires_at - now, timedelta(0))
