"""A command in a guest."""

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from vms.models import VirtualMachine

from ..states import RUN_ENDED, RUN_LIVE, RunStatus

OUTPUT_CAP_BYTES = 4 * 2**20  # of each of stdout and stderr that is kept


class Run(models.Model):
    """`argv` is what is executed; of a `command` it is the shell with it.

    Its output lies at its node's gateway, as `runs/<id>.stdout` and `.stderr` below DATA_DIR, `OUTPUT_CAP_BYTES` of
    each at most.

    Writers: services make it (pending) and ask for its end (`kill_requested_at`); the gateway of its node starts it
    and writes how it went. `domain_uuid` is the domain that it was started in: a reset ends it `lost`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    vm = models.ForeignKey(VirtualMachine, models.CASCADE, related_name="runs")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    command = models.TextField(blank=True)
    argv = models.JSONField(default=list)
    stdin = models.BinaryField(null=True)
    env = models.JSONField(default=dict, blank=True)
    cwd = models.CharField(max_length=1000, blank=True)
    timeout_seconds = models.PositiveIntegerField(default=3600)

    status = models.CharField(max_length=16, choices=RunStatus, default=RunStatus.PENDING)
    domain_uuid = models.UUIDField(null=True)
    exit_code = models.IntegerField(null=True)
    signal = models.PositiveSmallIntegerField(null=True, help_text="that ended it, where one did")
    error_code = models.CharField(max_length=32, blank=True)
    error_detail = models.CharField(max_length=500, blank=True, help_text="a sentence for people")
    stdout_bytes = models.PositiveBigIntegerField(default=0, help_text="that the guest sent, kept or not")
    stderr_bytes = models.PositiveBigIntegerField(default=0)
    stdout_truncated = models.BooleanField(default=False)
    stderr_truncated = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    kill_requested_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[Any]] = [
            models.CheckConstraint(condition=Q(status__in=RunStatus.values), name="run_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=RUN_LIVE, finished_at__isnull=True)
                | Q(status__in=RUN_ENDED, finished_at__isnull=False),
                name="run_finished_when_ended",
            ),
            models.CheckConstraint(
                condition=~Q(status=RunStatus.EXITED) | Q(exit_code__isnull=False), name="exited_run_has_a_code"
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["vm", "-created_at"], name="run_of_vm"),
            models.Index(fields=["vm"], condition=Q(status__in=RUN_LIVE), name="run_live_of_vm"),
        ]

    def __str__(self) -> str:
        return self.command[:50] or " ".join(map(str, self.argv))[:50]

    @property
    def is_live(self) -> bool:
        return self.status in RUN_LIVE
