"""Long work on a machine: the journal that Celery's doorbell points at."""

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Project

from ..states import ENDED, LIVE, OperationKind, OperationStatus
from .node import Node
from .vm import VirtualMachine


class Operation(models.Model):
    """One intent and how far it came. It outlives the row of its machine.

    `lease_owner` may work on it until `lease_expires_at` (database clock); `fence` grows with every claim and
    pre-emption, and a worker whose fence is old must not touch anything more.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=OperationKind)
    vm = models.ForeignKey(VirtualMachine, models.DO_NOTHING, null=True, db_constraint=False, related_name="operations")
    vm_name = models.CharField(max_length=63)
    project = models.ForeignKey(Project, models.PROTECT, related_name="operations")
    node = models.ForeignKey(Node, models.PROTECT, related_name="operations")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", db_index=False)
    data = models.JSONField(default=dict, blank=True)
    request_id = models.CharField(max_length=32, blank=True, db_default="", help_text="of the request that asked")

    status = models.CharField(max_length=16, choices=OperationStatus, default=OperationStatus.PENDING)
    step = models.CharField(max_length=32, blank=True)
    step_at = models.DateTimeField(null=True, blank=True)
    step_times = models.JSONField(default=list, blank=True, help_text="[[step, seconds], ...] of finished steps")
    progress = models.PositiveSmallIntegerField(default=0)
    attempt = models.PositiveIntegerField(default=0)
    takeovers = models.PositiveIntegerField(db_default=0, help_text="claims whose predecessor had died")
    cancel_requested = models.BooleanField(default=False)

    lease_owner = models.CharField(max_length=100, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    fence = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True, blank=True, help_text="when a failed attempt is tried again")
    rung_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=32, blank=True)
    error_detail = models.CharField(max_length=500, blank=True, help_text="a sentence for the user")
    staff_detail = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["vm"], condition=Q(status__in=LIVE), name="one_live_operation_per_vm"),
            models.CheckConstraint(condition=Q(status__in=OperationStatus.values), name="operation_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=ENDED) | Q(finished_at__isnull=True), name="unfinished_until_ended"
            ),
            models.CheckConstraint(
                condition=~Q(status=OperationStatus.FAILED) | ~Q(error_code=""), name="failed_has_a_reason"
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["vm", "-created_at"], name="operation_of_vm"),
            models.Index(fields=["project", "-created_at"], name="operation_of_project"),
            models.Index(fields=["actor", "finished_at"], name="operation_of_actor"),
            models.Index(fields=["-created_at", "id"], name="operation_newest"),
            models.Index(fields=["node", "created_at"], condition=Q(status__in=LIVE), name="operation_live_on_node"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.vm_name}"

    @property
    def machine_id(self) -> uuid.UUID:
        """The machine's id, also when its row has gone. The column is nullable only so that joins keep the row."""
        assert self.vm_id is not None
        return self.vm_id

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def starts(self) -> bool:
        """Does this create also start the machine?"""
        return bool(self.data.get("start", True))

    @property
    def is_parked(self) -> bool:
        """Does it wait for a worker that knows its kind and step? (F25)"""
        return self.is_live and bool(self.data.get("parked"))
