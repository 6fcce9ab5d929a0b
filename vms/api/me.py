"""Who I am and what I may use."""

from django.http import HttpRequest

from accounts.models import Membership, Role

from .. import quotas
from . import shapes
from .door import caller, router

routes = router("me")


@routes.get("me", response=shapes.Account)
def me(request: HttpRequest) -> shapes.Account:
    """Return the caller and their projects, the personal one first, with what each may use and uses."""
    user = caller(request)
    memberships = list(Membership.objects.filter(user=user).select_related("project").order_by("project__name"))
    memberships.sort(key=lambda row: row.project.personal_of_id != user.pk)
    projects = [row.project for row in memberships]
    limits, usage = quotas.limits_of(projects), quotas.usage_by_project(projects)
    return shapes.Account(
        user=shapes.Me(id=user.pk, username=user.username, email=user.email, is_staff=user.is_staff),
        projects=[
            shapes.MyProject(
                id=row.project.pk,
                name=row.project.name,
                role=Role(row.role),
                personal=row.project.personal_of_id == user.pk,
                limits=limits[row.project.pk][0],
                usage=usage[row.project.pk],
            )
            for row in memberships
        ],
    )
