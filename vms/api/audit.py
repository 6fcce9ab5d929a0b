"""The audit trail, for staff."""

from django.http import HttpRequest
from ninja import Query
from pydantic import Field

from accounts.people import list_entries

from . import asked, shapes, show
from .door import router, staff
from .paging import PageParams, shown

routes = router("audit")


class AuditParams(PageParams):
    """The query of the audit trail."""

    actor: asked.Text = Field("", max_length=150, description="A user name.")
    action: asked.Text = Field("", max_length=64, description="Such as vm.create; vm. for all that begin so.")
    about: asked.Text = Field("", max_length=200, description="Words: names, projects, ids, request ids.")


@routes.get("audit", response=shapes.Page[shapes.AuditEntry])
def list_audit(request: HttpRequest, wanted: Query[AuditParams]) -> shapes.Page[shapes.AuditEntry]:
    """Return who did what, the latest first; staff only."""
    staff(request)
    found = list_entries(
        who=wanted.actor, action=wanted.action, about=wanted.about, cursor=wanted.cursor, limit=wanted.limit
    )
    return shown(found, show.audit_entry)
