"""Console tickets (to open one) and sessions (those that are open)."""

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from .vm import VirtualMachine


class ConsoleKind(models.TextChoices):
    VNC = "vnc"
    SERIAL = "serial"
    SSH = "ssh"  # bytes to port 22 of the machine's own address, for programs


class ConsoleTicket(models.Model):
    """A right to open one console once, within 30 s. Only its hash is stored.

    `session_key` binds a ticket got in a browser to that login; it is empty for one got with an API token, which
    then holds `token_id`. `origin` is the exact Origin that must come with it ("" = none may come).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    secret_hash = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    vm = models.ForeignKey(VirtualMachine, models.CASCADE, related_name="+")
    domain_uuid = models.UUIDField()
    kind = models.CharField(max_length=8, choices=ConsoleKind)
    session_key = models.CharField(max_length=40, blank=True)
    token_id = models.UUIDField(null=True)
    origin = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    redeemed_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar[list[Any]] = [models.Index(fields=["expires_at"], name="ticket_by_expiry")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.vm_id} for {self.user_id}"


class ConsoleSession(models.Model):
    """An open console. The gateway touches `seen_at`; a row that it no longer touches is closed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    vm = models.ForeignKey(VirtualMachine, models.CASCADE, related_name="console_sessions")
    kind = models.CharField(max_length=8, choices=ConsoleKind)
    opened_at = models.DateTimeField(db_default=Now(), editable=False)
    seen_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.kind} of {self.vm_id} by {self.user_id}"
