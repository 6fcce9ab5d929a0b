"""Everyone has a personal project, however their account came to be: by a form, a command, or a single sign-on."""

import re
from typing import Any

from django.conf import settings

from .models import Membership, Project, QuotaLimit, Role, User


def give_personal_project(user: User) -> Project:
    """Make the user's personal project with the default quota; the caller is in the user's own transaction."""
    project = Project.objects.create(name=_free_name(user.username), personal_of=user)
    Membership.objects.create(project=project, user=user, role=Role.OWNER)
    QuotaLimit.objects.bulk_create(
        [QuotaLimit(project=project, dimension=name, limit=limit) for name, limit in settings.PERSONAL_QUOTA.items()]
    )
    return project


def _free_name(username: str) -> str:
    """Return a free project name made from a user name, which may hold what a slug may not."""
    base = re.sub(r"[^a-z0-9-]+", "-", username.lower()).strip("-")[:50] or "personal"
    taken = set(Project.objects.filter(name__startswith=base).values_list("name", flat=True))
    return next(name for name in (base, *(f"{base}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)


def when_saved(sender: type[User], instance: User, created: bool, raw: bool = False, **_kwargs: Any) -> None:
    """Signal handler of `post_save`; fixtures (`raw`) bring their own projects."""
    if created and not raw:
        give_personal_project(instance)
