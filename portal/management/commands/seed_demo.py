"""`manage.py seed_demo`: demo users, project and flavors for development. Run again: mends what is missing."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction

from accounts.actor import Actor
from accounts.models import Membership, Project, Role, User
from accounts.services import create_project, create_user
from vms.models import Flavor

USERS = ("admin", "alice", "bob", "dana", "charlie")
PROJECT = "harbor"
ROLES = {"alice": Role.OWNER, "bob": Role.MEMBER, "dana": Role.VIEWER}
FLAVORS = (("nano", 1, 256, 2), ("small", 1, 512, 8), ("medium", 2, 1024, 16), ("large", 2, 2048, 32))


class Command(BaseCommand):
    help = "Adds the demo users (with generated passwords), the project harbor and the flavors. Development only."

    def handle(self, *args: Any, **options: Any) -> None:
        path = Path(settings.VAR_DIR) / "demo-users.json"
        passwords: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        with transaction.atomic():
            for name in USERS:
                passwords[name] = self._user(name, passwords.get(name))
            self._project()
            for name, vcpus, memory_mib, disk_gib in FLAVORS:
                sizes = {"vcpus": vcpus, "memory_mib": memory_mib, "disk_gib": disk_gib}
                Flavor.objects.get_or_create(name=name, defaults=sizes)
            _write_private(path, json.dumps(passwords, indent=1) + "\n")

    @staticmethod
    def _user(name: str, password: str | None) -> str:
        """Make the user, or give an existing one a password that we know."""
        user = User.objects.filter(username=name).first()
        if user is not None and password is not None:
            return password
        password = "-".join(secrets.token_hex(2) for _ in range(3))
        if user is None:
            create_user(Actor.system(), name, password, email=f"{name}@slipway.invalid", is_staff=name == "admin")
        else:
            user.set_password(password)
            user.save(update_fields=["password"])
        return password

    @staticmethod
    def _project() -> None:
        project = Project.objects.filter(name=PROJECT).first() or create_project(
            Actor.system(), PROJECT, User.objects.get(username="alice")
        )
        for name, role in ROLES.items():
            Membership.objects.get_or_create(
                project=project, user=User.objects.get(username=name), defaults={"role": role}
            )


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    temporary.replace(path)
