"""The system's own project: owns what is nobody's yet, such as clones that wait. No list shows it."""

from django.db import IntegrityError, transaction

from .models import Membership, Project, QuotaLimit, User

NAME = "slipway-system"


def system_project() -> Project:
    """Return the system's project, made at first use: the personal one of a user who cannot sign in."""
    found = Project.objects.filter(system=True).select_related("personal_of").first()
    if found is not None:
        return found
    try:
        with transaction.atomic():
            return _make()
    except IntegrityError:  # somebody else was first
        return Project.objects.select_related("personal_of").get(system=True)


def _make() -> Project:
    user = User(username=_free_name(), is_active=False)
    user.set_unusable_password()
    user.save()  # gives it a personal project
    project = Project.objects.get(personal_of=user)
    Membership.objects.filter(project=project).delete()
    QuotaLimit.objects.filter(project=project).update(limit=None)
    project.system = True
    project.save(update_fields=["system"])
    return project


def _free_name() -> str:
    taken = set(User.objects.filter(username__startswith=NAME).values_list("username", flat=True))
    return next(name for name in (NAME, *(f"{NAME}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)


def system_user(project: Project) -> User:
    """Return the user that stands for the system in rows that need one."""
    assert project.personal_of is not None
    return project.personal_of
