"""The dimensions of a quota, in the order in which people read them. Units stand in the names."""

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class Dimension(TextChoices):
    VMS = "vms", _("Machines")
    VCPUS = "vcpus", _("vCPU")
    MEMORY_MIB = "memory_mib", _("Memory")
    DISK_GIB = "disk_gib", _("Disk")
    RUNNING_VMS = "running_vms", _("Running machines")
    RUNNING_VCPUS = "running_vcpus", _("Running vCPU")
    RUNNING_MEMORY_MIB = "running_memory_mib", _("Running memory")
    SANDBOXES = "sandboxes", _("Sandboxes")
    SANDBOX_MINUTES = "sandbox_minutes", _("Sandbox minutes a month")


ALLOCATED = (Dimension.VMS, Dimension.VCPUS, Dimension.MEMORY_MIB, Dimension.DISK_GIB)
RUNNING = (Dimension.RUNNING_VMS, Dimension.RUNNING_VCPUS, Dimension.RUNNING_MEMORY_MIB)
SANDBOX = (Dimension.SANDBOXES, Dimension.SANDBOX_MINUTES)
