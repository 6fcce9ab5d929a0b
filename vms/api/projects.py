"""Projects: what they may use, and who belongs to them."""

from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Status

from accounts.access import Verb, as_uuid, get_project_for
from accounts.models import Membership, Project
from accounts.refusals import NotVisible
from accounts.services import remove_membership, set_limits, set_membership

from .. import quotas
from . import asked, shapes, show
from .door import actor, caller, router
from .paging import PageParams, paged

routes = router("projects")


@routes.get("projects/{project_id}/quota", response=shapes.Quota)
def get_quota(request: HttpRequest, project_id: str) -> shapes.Quota:
    """Return a project's limits, what it uses, and the limits of members within it."""
    return _quota(get_project_for(caller(request), project_id))


@routes.put("projects/{project_id}/quota", response=shapes.Quota)
def set_quota(request: HttpRequest, project_id: str, body: asked.QuotaChange) -> shapes.Quota:
    """Set limits; staff only. Lowering one below what is used ends nothing: growth is refused from then on."""
    project = get_project_for(caller(request), project_id)
    set_limits(actor(request), project, body.limits, body.member_limits)
    return _quota(project)


def _quota(project: Project) -> shapes.Quota:
    limits, member_limits = quotas.limits_of([project])[project.pk]
    return shapes.Quota(limits=limits, usage=quotas.usage(project), member_limits=member_limits)


@routes.get("projects/{project_id}/members", response=shapes.Page[shapes.Member])
def list_members(request: HttpRequest, project_id: str, wanted: Query[PageParams]) -> shapes.Page[shapes.Member]:
    """Return who belongs to a project, in the order in which they joined."""
    project = get_project_for(caller(request), project_id)
    rows = Membership.objects.filter(project=project).select_related("user")
    return paged(rows, ["id"], wanted, show.member)


@routes.post("projects/{project_id}/members", response={201: shapes.Member})
def set_member(request: HttpRequest, project_id: str, body: asked.Membership) -> Status[shapes.Member]:
    """Add a member, or give one another role; for owners of the project."""
    project = get_project_for(caller(request), project_id, Verb.MANAGE)
    membership = set_membership(actor(request), project, body.username, body.role)
    membership.refresh_from_db()
    return Status(201, show.member(membership))


@routes.delete("projects/{project_id}/members/{member}", response={204: None})
def remove_member(request: HttpRequest, project_id: str, member: str) -> Status[None]:
    """Remove a member, by user name or id. Their open consoles in the project are cut within seconds."""
    project = get_project_for(caller(request), project_id, Verb.MANAGE)
    remove_membership(actor(request), project, _member_id(project, member))
    return Status(204, None)


def _member_id(project: Project, member: str) -> UUID:
    """Return the id of the member who is named, by name or id; NotVisible."""
    rows = Membership.objects.filter(project=project)
    if member.isprintable():  # no zero bytes, which a database refuses
        rows_by_name = rows.filter(user__username=member)
        if found := rows_by_name.values_list("user_id", flat=True).first():
            return found
    uuid = as_uuid(member)
    if uuid is None:
        raise NotVisible
    return uuid
