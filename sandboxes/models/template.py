"""What sandboxes are cloned from: a template, and what it was frozen to on each node."""

import hashlib
import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import Project
from vms.models import Flavor, Image, Node

from ..states import BuildStatus, NetworkMode

# Raised when what is done to a guest before it is frozen changes (operations/prepare.py): no older build fits any more.
PREPARATION = "2"


class Template(models.Model):
    """Image, flavor and an optional script that makes a booted machine ready. `project` null: everybody's.

    `share_ram`: clones map one copy of its memory (copy on write). Off, each has a copy of its own, as two guests
    that share pages can time each other. A project's template is only ever mapped by that project's sandboxes.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, null=True, blank=True, related_name="templates")
    name = models.SlugField(_("name"), max_length=63)
    description = models.CharField(_("description"), max_length=300, blank=True)
    image = models.ForeignKey(Image, models.PROTECT, related_name="templates")
    flavor = models.ForeignKey(Flavor, models.PROTECT, related_name="templates")
    ready_script = models.TextField(_("ready script"), blank=True, help_text="at most 64 KiB, run by root once booted")
    share_ram = models.BooleanField(_("share memory pages"), default=True)
    network = models.CharField(_("network"), max_length=16, choices=NetworkMode, default=NetworkMode.NAT)
    pool_size = models.PositiveSmallIntegerField(_("waiting clones on each node"), default=0)
    lease_minutes = models.PositiveIntegerField(_("lease (minutes)"), default=60)
    idle_minutes = models.PositiveIntegerField(
        _("pause after idle minutes"), null=True, blank=True, help_text="a command or an open console is use"
    )
    active = models.BooleanField(_("offered"), default=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["name", "id"]
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(
                fields=["name"], condition=Q(project=None, active=True), name="one_global_template_per_name"
            ),
            models.UniqueConstraint(
                fields=["project", "name"], condition=Q(active=True), name="one_template_per_name_in_a_project"
            ),
            models.CheckConstraint(condition=Q(network__in=NetworkMode.values), name="template_network_known"),
            models.CheckConstraint(condition=Q(pool_size__lte=50), name="template_pool_is_small"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def usual_lease_minutes(self) -> int:
        """What a sandbox of it gets where nothing else is asked for: less than its own where policy became stricter."""
        return min(self.lease_minutes, settings.SANDBOX_LEASE_MINUTES[1])

    @property
    def recipe(self) -> str:
        """A digest of all that a build is made from: another recipe needs another build. Reads image and flavor."""
        parts = [
            PREPARATION, self.image.sha256, str(self.flavor.vcpus), str(self.flavor.memory_mib),
            str(self.flavor.disk_gib), self.ready_script,
        ]  # fmt: skip
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


class TemplateBuild(models.Model):
    """A template frozen on a node: its folder is `templates/<id>` below DATA_DIR.

    It fits while the template's recipe and the node's fingerprint (QEMU, machine type, CPU) are those of the row.
    Its id is that of the machine that it is made from. `operation_id` names a row that may have gone.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    template = models.ForeignKey(Template, models.CASCADE, related_name="builds")
    node = models.ForeignKey(Node, models.PROTECT, related_name="template_builds")
    status = models.CharField(max_length=16, choices=BuildStatus, default=BuildStatus.BUILDING)
    operation_id = models.UUIDField(null=True)
    recipe = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=200, blank=True)
    vcpus = models.PositiveIntegerField()
    memory_mib = models.PositiveIntegerField()
    disk_gib = models.PositiveIntegerField()
    ram_bytes = models.PositiveBigIntegerField(default=0)
    state_bytes = models.PositiveBigIntegerField(default=0)
    disk_bytes = models.PositiveBigIntegerField(default=0)
    reason = models.CharField(max_length=32, blank=True, help_text="why it failed, for programs")
    reason_detail = models.CharField(max_length=500, blank=True, help_text="why it failed, a sentence")
    output = models.TextField(blank=True, help_text="the end of what the ready script said")
    screenshot = models.BinaryField(null=True, help_text="PNG of the display when it failed")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    frozen_at = models.DateTimeField(null=True, blank=True)
    idle_mib = models.PositiveIntegerField(
        null=True, editable=False, help_text="a waiting clone's own memory, measured"
    )
    ready_ms = models.PositiveIntegerField(null=True, editable=False, help_text="from request to ready, the last time")
    boot_ms = models.PositiveIntegerField(null=True, editable=False, help_text="from power on to the guest's answer")
    short_since = models.DateTimeField(null=True, editable=False, help_text="fewer clones wait than should, since then")

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(
                fields=["template", "node"], condition=Q(status=BuildStatus.BUILDING), name="one_build_under_way"
            ),
            models.UniqueConstraint(
                fields=["template", "node"], condition=Q(status=BuildStatus.READY), name="one_ready_build"
            ),
            models.CheckConstraint(condition=Q(status__in=BuildStatus.values), name="build_status_known"),
            models.CheckConstraint(
                condition=~Q(status=BuildStatus.FAILED) | ~Q(reason=""), name="failed_build_has_a_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.template} on {self.node}"

    def fits(self, template: Template) -> bool:
        """Can clones be made of it now? Reads its node, and the template's image and flavor."""
        same = self.recipe == template.recipe and self.fingerprint == self.node.fingerprint
        return same and self.status == BuildStatus.READY

    @property
    def folder(self) -> str:
        """Where it lies, below DATA_DIR."""
        return f"templates/{self.pk}"

    @property
    def disk_path(self) -> str:
        """The frozen disk that clones' disks are overlays of, below DATA_DIR."""
        return f"{self.folder}/disk.qcow2"

    @property
    def size_bytes(self) -> int:
        return self.ram_bytes + self.state_bytes + self.disk_bytes
