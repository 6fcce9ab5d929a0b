"""People, the projects that own machines, who belongs to them, how much they may use, and who did what."""

import hashlib
import secrets
import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from .dimensions import Dimension


class User(AbstractUser):
    """Someone who signs in. Staff run the portal: they set quotas and see every machine."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    single_keys = models.BooleanField(_("single-key shortcuts"), default=True)

    def __str__(self) -> str:
        return self.username


class Project(models.Model):
    """What machines belong to and quotas are set on. Everyone has a personal one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(_("name"), max_length=63, unique=True)
    personal_of = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="personal_project"
    )
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="projects")
    system = models.BooleanField(
        default=False, db_default=False, help_text="owns what is nobody's yet; no list shows it"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["system"], condition=Q(system=True), name="one_system_project")
        ]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    OWNER = "owner", _("Owner")
    MEMBER = "member", _("Member")
    VIEWER = "viewer", _("Viewer")


class Membership(models.Model):
    """A user's role in a project: an owner manages members, a member runs machines, a viewer looks."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role, default=Role.MEMBER)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["project", "user"], name="one_role_per_member"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.project}"


class QuotaLimit(models.Model):
    """At most `limit` of a dimension for a project, or for one member within it; null is unlimited, 0 none.

    Where a row is missing: the project's default from the settings; for a member, unlimited within the project.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="quota_limits")
    member = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="+")
    dimension = models.CharField(max_length=32, choices=Dimension)
    limit = models.PositiveBigIntegerField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(
                fields=["project", "dimension"],
                condition=Q(member=None),
                name="one_limit_per_project_dimension",
            ),
            models.UniqueConstraint(
                fields=["project", "member", "dimension"],
                condition=Q(member__isnull=False),
                name="one_limit_per_member_dimension",
            ),
            models.CheckConstraint(condition=Q(dimension__in=Dimension.values), name="quota_dimension_known"),
        ]

    def __str__(self) -> str:
        return f"{self.project}: {self.dimension} <= {self.limit}"


class ApiToken(models.Model):
    """A bearer token: shown once, stored as a hash. The secret has 256 bits, so a plain hash suffices."""

    PREFIX = "slw_"

    class Scope(models.TextChoices):
        READ = "read", _("Read")
        WRITE = "write", _("Read and change")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(_("name"), max_length=64)
    hint = models.CharField(max_length=8, help_text="the last characters, to tell tokens apart")
    secret_hash = models.CharField(max_length=64, unique=True)
    scope = models.CharField(_("may"), max_length=8, choices=Scope, default=Scope.WRITE)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} (...{self.hint})"

    @classmethod
    def make_secret(cls) -> str:
        return cls.PREFIX + secrets.token_urlsafe(32)

    @staticmethod
    def hash_of(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()


class AuditEntry(models.Model):
    """Who did what to what, when: appended, never changed. Names are kept, for the things may go."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now(), editable=False, db_index=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )
    actor_name = models.CharField(max_length=150)
    via = models.CharField(max_length=16, help_text="session, token, system")
    action = models.CharField(max_length=64)
    project = models.ForeignKey(Project, models.DO_NOTHING, null=True, db_constraint=False, related_name="+")
    target_kind = models.CharField(max_length=32, blank=True)
    target_id = models.UUIDField(null=True, db_index=True)
    target_name = models.CharField(max_length=150, blank=True)
    data = models.JSONField(default=dict, blank=True)
    request_id = models.CharField(max_length=32, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-id"]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.actor_name} {self.action} {self.target_name}"
