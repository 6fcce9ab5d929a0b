"""A machine, its disks and its cards."""

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import Project

from ..states import ATTENTION, DesiredState, Facts, ObservedState, Role, Status
from .catalogue import Flavor, Image
from .node import Network, Node, StoragePool


class VirtualMachine(models.Model):
    """A machine as people know it. `domain_uuid` is the domain behind it, and may be replaced by a reset.

    Writers: services write `desired_state`; the observer writes `observed_*`, which a reset moves with the domain; the
    runner writes `failure` when an operation ends. `attention_rank` follows from them (vms.states.attention_rank).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    domain_uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    project = models.ForeignKey(Project, models.PROTECT, related_name="vms")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="vms")
    name = models.CharField(_("name"), max_length=63)
    description = models.CharField(_("description"), max_length=500, blank=True)
    node = models.ForeignKey(Node, models.PROTECT, related_name="vms")
    image = models.ForeignKey(Image, models.PROTECT, related_name="vms")
    flavor = models.ForeignKey(Flavor, models.PROTECT, related_name="vms")
    vcpus = models.PositiveIntegerField()
    memory_mib = models.PositiveIntegerField()
    disk_gib = models.PositiveIntegerField()
    role = models.CharField(max_length=16, choices=Role, default=Role.MACHINE, db_default=Role.MACHINE)
    sealed_seed = models.BinaryField(null=True, help_text="keys, password hash, user data; gone once the seed is read")

    desired_state = models.CharField(max_length=16, choices=DesiredState, default=DesiredState.RUNNING)
    observed_state = models.CharField(max_length=16, choices=ObservedState, default=ObservedState.ABSENT)
    observed_reason = models.CharField(max_length=32, blank=True)
    observed_at = models.DateTimeField(null=True, blank=True, help_text="when the observation last changed")
    started_at = models.DateTimeField(null=True, blank=True, help_text="since when it is seen running")
    failure = models.CharField(max_length=32, blank=True)
    attention_rank = models.PositiveSmallIntegerField(default=ATTENTION[Status.CREATING])
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    version = models.PositiveIntegerField(default=1, help_text="grows with every change that browsers should see")

    foreign_devices = models.CharField(
        max_length=300, blank=True, db_default="", help_text="what somebody attached to its domain behind our back"
    )

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=~Q(desired_state=DesiredState.DELETED),
                name="one_vm_per_name_in_a_project",
            ),
            models.CheckConstraint(condition=Q(desired_state__in=DesiredState.values), name="vm_desired_known"),
            models.CheckConstraint(condition=Q(observed_state__in=ObservedState.values), name="vm_observed_known"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="vm_role_known"),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["project", "attention_rank", "name", "id"], name="vm_by_attention_in_project"),
            models.Index(fields=["attention_rank", "name", "id"], name="vm_by_attention"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def seed_name(self) -> str:
        """The name of its seed's file in the pool of its disk."""
        return f"{self.domain_uuid}.iso"

    def facts(self, live_kind: str = "") -> Facts:
        """Return what `states.display_status` needs; reads `node`, so select it with the row."""
        return Facts(
            desired_state=self.desired_state,
            observed_state=self.observed_state,
            reason=self.failure
            if self.failure in ("create_failed", "delete_failed")
            else self.observed_reason or self.failure,
            live_kind=live_kind,
            node_synced_at=self.node.synced_at,
        )


def lock_vm(vm_id: uuid.UUID) -> VirtualMachine | None:
    """Take a machine's lock and return it with node and project, or None; the caller is in a transaction.

    Neither the rows it points at nor its key are locked: whoever writes an operation checks those keys at its
    commit, and would wait for this transaction while this one waits for it.
    """
    rows = VirtualMachine.objects.select_for_update(of=("self",), no_key=True).select_related("node", "project")
    return rows.filter(pk=vm_id).first()


class Volume(models.Model):
    """A disk of a machine, kept in a pool as `<id>.qcow2`: an overlay on an image's file or on a frozen template's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    vm = models.ForeignKey(VirtualMachine, models.PROTECT, related_name="volumes")
    pool = models.ForeignKey(StoragePool, models.PROTECT, related_name="volumes")
    base_image = models.ForeignKey(Image, models.PROTECT, null=True, related_name="volumes")
    base_path = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="a frozen template's disk, below DATA_DIR"
    )
    disk_index = models.PositiveSmallIntegerField(default=0)
    size_gib = models.PositiveIntegerField()

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["vm", "disk_index"], name="one_volume_per_disk_slot")
        ]

    def __str__(self) -> str:
        return self.file_name

    @property
    def file_name(self) -> str:
        return f"{self.id}.qcow2"


class Nic(models.Model):
    """A card on a network with the address that DHCP gives it and the filter lets through."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    vm = models.ForeignKey(VirtualMachine, models.PROTECT, related_name="nics")
    network = models.ForeignKey(Network, models.PROTECT, related_name="nics")
    mac = models.CharField(max_length=17, unique=True)
    address = models.GenericIPAddressField()
    linked = models.BooleanField(
        default=True, db_default=True, help_text="plugged in; a sandbox without a network has a card that is not"
    )

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["network", "address"], name="one_card_per_address")
        ]

    def __str__(self) -> str:
        return f"{self.address} ({self.mac})"
