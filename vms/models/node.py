"""Hypervisor hosts, their storage and their networks, as their node agents registered them."""

import ipaddress
import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from ..states import NetworkKind


class Node(models.Model):
    """A hypervisor host. `synced_at` is when its agent last compared all domains with the database."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(_("name"), max_length=63, unique=True)
    gateway_url = models.URLField(max_length=200)
    virt_type = models.CharField(max_length=8, default="qemu")
    arch = models.CharField(max_length=16, default="x86_64")
    cpu_model = models.CharField(max_length=64, blank=True)
    cpu_flags = models.JSONField(default=list, blank=True)
    vcpus = models.PositiveIntegerField(default=0)
    memory_mib = models.PositiveIntegerField(default=0)
    memory_free_mib = models.PositiveIntegerField(default=0)
    versions = models.JSONField(default=dict, blank=True)
    cordoned = models.BooleanField(_("takes no new machines"), default=False)
    cordon_reason = models.CharField(max_length=200, blank=True)
    hypervisor_ok = models.BooleanField(default=False, help_text="the agent's connection to libvirt stands")
    fingerprint = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="what frozen templates have to match"
    )
    addresses = models.CharField(
        max_length=300, blank=True, default="", db_default="", help_text="the host's own, IPv4, with commas between"
    )
    breaches = models.PositiveIntegerField(db_default=0, help_text="broken invariants that its agent saw twice")
    synced_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def queue(self) -> str:
        """The Celery queue that this node's worker consumes."""
        return f"node.{self.name}"


class StoragePool(models.Model):
    """A folder of volumes on a node."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    node = models.ForeignKey(Node, models.PROTECT, related_name="pools")
    name = models.CharField(max_length=63)
    path = models.CharField(max_length=200)
    capacity_bytes = models.PositiveBigIntegerField(default=0)
    free_bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["node", "name"], name="one_pool_per_name_on_a_node")
        ]

    def __str__(self) -> str:
        return f"{self.name} on {self.node}"


class Network(models.Model):
    """A network on a node. `next_host` walks the host part, so that finding a free address costs the same."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    node = models.ForeignKey(Node, models.PROTECT, related_name="networks")
    name = models.CharField(max_length=63)
    kind = models.CharField(max_length=16, choices=NetworkKind, default=NetworkKind.VMS, db_default=NetworkKind.VMS)
    bridge = models.CharField(max_length=15)
    subnet = models.CharField(max_length=43, help_text="10.71.0.0/20; the first address is the gateway's")
    filter_name = models.CharField(max_length=63)
    next_host = models.PositiveIntegerField(default=2)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["node", "name"], name="one_network_per_name_on_a_node")
        ]

    def __str__(self) -> str:
        return f"{self.name} on {self.node}"

    @property
    def prefix_length(self) -> int:
        return ipaddress.ip_network(self.subnet).prefixlen

    @property
    def gateway(self) -> str:
        """The host's address on it, the first of the subnet; "" where the host is not on it."""
        return "" if self.kind == NetworkKind.ISOLATED else str(ipaddress.ip_network(self.subnet)[1])
