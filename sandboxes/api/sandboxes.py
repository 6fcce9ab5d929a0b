"""Sandboxes: made, seen, reset, extended, paused, kept, deleted."""

from django.http import HttpRequest
from ninja import Query, Status
from pydantic import Field

from accounts import keyset
from accounts.access import get_project_for
from vms.api import show as machines
from vms.api.door import actor, caller, router
from vms.api.paging import PageParams, shown
from vms.api.shapes import Operation, OperationOnly, Page, Vm
from vms.models import Operation as OperationRow
from vms.queries import get_vm_for

from .. import services
from ..models import Sandbox
from ..queries import get_sandbox_for, sandboxes_with_details, visible_sandboxes
from . import asked, shapes, show

routes = router("sandboxes")
USUAL_MINUTES = 60
Accepted = Status[shapes.SandboxAndOperation]


class SandboxParams(PageParams):
    """The query of the list of sandboxes."""

    search: str = Field("", max_length=200, description="A part of the name.")
    project: asked.Text = Field("", max_length=100, description="An id or a name.")


@routes.post("sandboxes", response={202: shapes.SandboxAndOperation})
def create_sandbox(request: HttpRequest, body: asked.NewSandbox) -> Accepted:
    """Make a sandbox: a waiting clone, a fresh one, or a plain boot where the template is not prepared."""
    made = services.request_sandbox(actor(request), services.NewSandbox(**body.model_dump()))
    return _accepted(request, made)


@routes.get("sandboxes", response=Page[shapes.Sandbox])
def list_sandboxes(request: HttpRequest, wanted: Query[SandboxParams]) -> Page[shapes.Sandbox]:
    """Return the sandboxes of your projects (staff: all), the newest first."""
    user = caller(request)
    rows = visible_sandboxes(user, everything=user.is_staff)
    if wanted.project:
        rows = rows.filter(vm__project=get_project_for(user, wanted.project))
    if search := wanted.search.replace("\x00", ""):
        rows = rows.filter(vm__name__icontains=search)
    found = keyset.page(sandboxes_with_details(rows), ["-started_at", "-id"], wanted.limit, wanted.cursor)
    return shown(found, show.sandbox)


@routes.get("sandboxes/{vm_id}", response=shapes.Sandbox)
def get_sandbox(request: HttpRequest, vm_id: str) -> shapes.Sandbox:
    """Return one sandbox; its id is its machine's, so consoles are those of any machine."""
    return show.sandbox(get_sandbox_for(caller(request), vm_id))


@routes.delete("sandboxes/{vm_id}", response={202: OperationOnly})
def delete_sandbox(request: HttpRequest, vm_id: str) -> Status[OperationOnly]:
    """Delete a sandbox for good, whatever it is doing. Asked again, the answer is the same."""
    operation = services.request_delete(actor(request), vm_id)
    return Status(202, OperationOnly(operation=machines.operation(operation)))


@routes.post("sandboxes/{vm_id}/reset", response={202: shapes.SandboxAndOperation})
def reset_sandbox(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Accepted:
    """Put a sandbox back to its clean state, with its address; its disk is lost and its commands end."""
    return _accepted(request, services.request_reset(actor(request), vm_id))


@routes.post("sandboxes/{vm_id}/extend", response=shapes.Sandbox)
def extend_sandbox(request: HttpRequest, vm_id: str, body: asked.Extend | None = None) -> shapes.Sandbox:
    """Give the lease more minutes, 60 where nothing is said."""
    services.request_extend(actor(request), vm_id, body.minutes if body else USUAL_MINUTES)
    return show.sandbox(get_sandbox_for(caller(request), vm_id))


@routes.post("sandboxes/{vm_id}/pause", response={202: shapes.SandboxAndOperation})
def pause_sandbox(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Accepted:
    """Pause a sandbox to disk; its clock stands still, and it uses no memory."""
    return _accepted(request, services.request_pause(actor(request), vm_id))


@routes.post("sandboxes/{vm_id}/resume", response={202: shapes.SandboxAndOperation})
def resume_sandbox(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Accepted:
    """Let a paused sandbox go on where it was, or switch on one that is off."""
    return _accepted(request, services.request_resume(actor(request), vm_id))


@routes.post("sandboxes/{vm_id}/restore", response={202: shapes.SandboxAndOperation})
def restore_sandbox(request: HttpRequest, vm_id: str, body: asked.Restore | None = None) -> Accepted:
    """Take a sandbox back whose lease has ended, with a new lease, until it is deleted."""
    minutes = body.lease_minutes if body else None
    return _accepted(request, services.request_restore(actor(request), vm_id, minutes))


@routes.post("sandboxes/{vm_id}/keep", response=Vm)
def keep_sandbox(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Vm:
    """Turn a sandbox into an ordinary machine, where the quota of machines allows."""
    vm = services.request_keep(actor(request), vm_id)
    return machines.vm(get_vm_for(caller(request), vm.pk))


def _accepted(request: HttpRequest, done: tuple[Sandbox, OperationRow]) -> Accepted:
    """Show the sandbox as it is now, and the operation that was journaled."""
    sandbox, operation = done
    seen = get_sandbox_for(caller(request), sandbox.vm_id)
    shown_operation: Operation = machines.operation(operation)
    return Status(202, shapes.SandboxAndOperation(sandbox=show.sandbox(seen), operation=shown_operation))
