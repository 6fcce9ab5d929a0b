"""What a machine is made from: an image and a flavor."""

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Flavor(models.Model):
    """A size that people pick."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(_("name"), max_length=63, unique=True)
    vcpus = models.PositiveIntegerField(_("vCPU"))
    memory_mib = models.PositiveIntegerField(_("memory (MiB)"))
    disk_gib = models.PositiveIntegerField(_("disk (GiB)"))
    active = models.BooleanField(_("offered"), default=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["memory_mib", "vcpus", "disk_gib", "name"]
        constraints: ClassVar[list[Any]] = [
            models.CheckConstraint(
                condition=models.Q(vcpus__gte=1, memory_mib__gte=64, disk_gib__gte=1),
                name="flavor_is_a_machine",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Image(models.Model):
    """A read-only qcow2 file that disks are overlays of. `file_name` is ours, below DATA_DIR/images."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(_("name"), max_length=63, unique=True)
    title = models.CharField(_("title"), max_length=100)
    description = models.CharField(_("description"), max_length=300, blank=True)
    file_name = models.CharField(max_length=100)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.PositiveBigIntegerField()
    virtual_size_bytes = models.PositiveBigIntegerField()
    min_memory_mib = models.PositiveIntegerField(default=128)
    default_user = models.CharField(max_length=32, default="slipway")
    has_agent = models.BooleanField(default=True)
    active = models.BooleanField(_("offered"), default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def min_disk_gib(self) -> int:
        """The smallest disk in GiB that holds this image."""
        return -(-self.virtual_size_bytes // 2**30)
