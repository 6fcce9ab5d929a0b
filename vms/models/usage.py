"""Usage over time: appended, never changed. What was booked too much is booked back by another entry."""

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from accounts.models import Project


class UsageEntry(models.Model):
    """Seconds of a sandbox's lease in one calendar month (UTC); negative where a lease ended before its time.

    It outlives the machine. The sum over a month is what the lease clocks used and what live leases have reserved.
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now(), editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="usage_entries")
    member = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    vm_id = models.UUIDField(default=uuid.uuid4)
    vm_name = models.CharField(max_length=63)
    month = models.DateField(help_text="its first day")
    seconds = models.BigIntegerField()
    why = models.CharField(max_length=16)

    class Meta:
        indexes: ClassVar[list[Any]] = [models.Index(fields=["project", "month"], name="usage_of_a_month")]
        verbose_name_plural = "usage entries"

    def __str__(self) -> str:
        return f"{self.seconds} s of {self.vm_name} in {self.month:%Y-%m}"
