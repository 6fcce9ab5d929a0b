"""Templates: what sandboxes are cloned from."""

from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Status
from pydantic import Field

from accounts import keyset
from accounts.access import get_project_for
from vms.api import show as machines
from vms.api.door import actor, caller, router
from vms.api.paging import PageParams, shown
from vms.api.shapes import Page

from .. import services
from ..queries import get_template_for, spares_by_build, template_gate, visible_templates, with_builds
from . import asked, shapes, show

routes = router("templates")


class TemplateParams(PageParams):
    """The query of the list of templates."""

    search: str = Field("", max_length=200, description="A part of the name.")
    project: asked.Text = Field("", max_length=100, description="An id or a name: this project's, and everybody's.")


@routes.get("templates", response=Page[shapes.Template])
def list_templates(request: HttpRequest, wanted: Query[TemplateParams]) -> Page[shapes.Template]:
    """Return everybody's templates and those of your projects (staff: all), by name."""
    user = caller(request)
    rows = visible_templates(user, everything=True)
    if wanted.project:
        project = get_project_for(user, wanted.project)
        rows = rows.filter(project=None) | rows.filter(project=project)
    if search := wanted.search.replace("\x00", ""):
        rows = rows.filter(name__icontains=search)
    waiting, may_change = spares_by_build(), template_gate(user)
    found = keyset.page(with_builds(rows), ["name", "id"], wanted.limit, wanted.cursor)
    return shown(found, lambda row: show.template(row, waiting, may_change(row)))


def _shown(request: HttpRequest, template_id: UUID | str) -> shapes.Template:
    user = caller(request)
    template = get_template_for(user, template_id)
    return show.template(template, spares_by_build(), template_gate(user)(template))


@routes.post("templates", response={201: shapes.Template})
def create_template(request: HttpRequest, body: asked.NewTemplate) -> Status[shapes.Template]:
    """Make a template; prepare it before clones can be made of it."""
    made = services.request_template(actor(request), services.NewTemplate(**body.model_dump()))
    return Status(201, _shown(request, made.pk))


@routes.get("templates/{template_id}", response=shapes.Template)
def get_template(request: HttpRequest, template_id: str) -> shapes.Template:
    """Return one template, by id or name."""
    return _shown(request, template_id)


@routes.patch("templates/{template_id}", response=shapes.Template)
def change_template(request: HttpRequest, template_id: str, body: asked.Pool) -> shapes.Template:
    """Say how many clones wait on each node; staff."""
    services.request_pool(actor(request), template_id, body.pool_size)
    return _shown(request, template_id)


@routes.post("templates/{template_id}/prepare", response={202: shapes.TemplateAndOperations})
def prepare_template(
    request: HttpRequest, template_id: str, body: asked.Nothing | None = None
) -> Status[shapes.TemplateAndOperations]:
    """Boot it once on every node, run its script, and freeze it there. Clones of the old one live on."""
    template, operations = services.request_prepare(actor(request), template_id)
    begun = [machines.operation(operation) for operation in operations]
    return Status(202, shapes.TemplateAndOperations(template=_shown(request, template.pk), operations=begun))


@routes.delete("templates/{template_id}", response={204: None})
def delete_template(request: HttpRequest, template_id: str) -> Status[None]:
    """Take a template away. Sandboxes that were made of it live on."""
    services.request_retire(actor(request), template_id)
    return Status(204, None)
