"""Machines: made, seen, renamed, resized, powered, deleted."""

from collections.abc import Callable
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Status
from pydantic import Field

from accounts.access import Verb, get_project_for
from accounts.actor import Actor

from .. import services, states
from ..models import Operation, VirtualMachine
from ..queries import get_vm_for, list_vms_for
from . import asked, shapes, show
from .door import actor, caller, router
from .paging import PageParams, paged

routes = router("vms")
Accepted = Status[shapes.VmAndOperation]


class VmParams(PageParams):
    """The query of the list of machines."""

    search: str = Field("", max_length=200, description="Words found in name, address, owner or image.")
    status: list[states.Status] = Field([], description="Repeat it for several.")
    project: asked.Text = Field("", max_length=100, description="An id or a name.")


@routes.post("vms", response={202: shapes.VmAndOperation})
def create_vm(request: HttpRequest, body: asked.NewVm) -> Accepted:
    """Create a machine, and start it unless `start` is false. The operation tells how far it is."""
    new = services.NewVm(**{**body.model_dump(), "ssh_keys": tuple(body.ssh_keys)})
    return _accepted(request, services.request_create(actor(request), new))


@routes.get("vms", response=shapes.Page[shapes.Vm])
def list_vms(request: HttpRequest, wanted: Query[VmParams]) -> shapes.Page[shapes.Vm]:
    """Return the machines of your projects (staff: all machines), those that need attention first."""
    user = caller(request)
    project = get_project_for(user, wanted.project) if wanted.project else None
    found = list_vms_for(
        user,
        limit=wanted.limit,
        cursor=wanted.cursor,
        search=wanted.search,
        statuses=wanted.status,
        project=project.pk if project else None,
        everything=user.is_staff,
    )
    return shapes.Page(items=[show.vm(row) for row in found.items], next=found.next)


@routes.get("vms/{vm_id}", response=shapes.Vm)
def get_vm(request: HttpRequest, vm_id: str) -> shapes.Vm:
    """Return one machine."""
    return show.vm(get_vm_for(caller(request), vm_id))


@routes.patch("vms/{vm_id}", response=shapes.Vm)
def change_vm(request: HttpRequest, vm_id: str, body: asked.VmPatch) -> shapes.Vm:
    """Change name or description. The host name inside the guest stays."""
    changes = body.model_dump(exclude_unset=True)
    if changes:
        services.request_rename(actor(request), vm_id, **changes)
    return show.vm(get_vm_for(caller(request), vm_id, Verb.CHANGE))


@routes.delete("vms/{vm_id}", response={202: shapes.OperationOnly})
def delete_vm(request: HttpRequest, vm_id: str) -> Status[shapes.OperationOnly]:
    """Delete a machine and its disks for good, whatever it is doing. Asked again, the answer is the same."""
    operation = services.request_delete(actor(request), vm_id)
    return Status(202, shapes.OperationOnly(operation=show.operation(operation)))


@routes.post("vms/{vm_id}/start", response={202: shapes.VmAndOperation})
def start_vm(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Accepted:
    """Start a machine that is off."""
    return _power(request, services.request_start, vm_id)


@routes.post("vms/{vm_id}/stop", response={202: shapes.VmAndOperation})
def stop_vm(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Accepted:
    """Ask the guest to shut down. Where it does not, the operation ends `guest_timeout`."""
    return _power(request, services.request_stop, vm_id)


@routes.post("vms/{vm_id}/force-off", response={202: shapes.VmAndOperation})
def force_off_vm(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Accepted:
    """Switch off at once, as if the plug were pulled; takes the place of a stop or reboot under way."""
    return _power(request, services.request_force_off, vm_id)


@routes.post("vms/{vm_id}/reboot", response={202: shapes.VmAndOperation})
def reboot_vm(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Accepted:
    """Ask the guest to reboot."""
    return _power(request, services.request_reboot, vm_id)


@routes.post("vms/{vm_id}/pause", response={202: shapes.VmAndOperation})
def pause_vm(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Accepted:
    """Stop the processors; memory stays, and counts as running."""
    return _power(request, services.request_pause, vm_id)


@routes.post("vms/{vm_id}/resume", response={202: shapes.VmAndOperation})
def resume_vm(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Accepted:
    """Let a paused machine go on."""
    return _power(request, services.request_resume, vm_id)


@routes.post("vms/{vm_id}/retry", response={202: shapes.VmAndOperation})
def retry_vm(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Accepted:
    """Try a create that failed again."""
    return _power(request, services.request_create_again, vm_id)


@routes.post("vms/{vm_id}/resize", response={202: shapes.VmAndOperation})
def resize_vm(request: HttpRequest, vm_id: str, body: asked.Resize) -> Accepted:
    """Give a machine that is off another size. Its disk grows and never shrinks."""
    return _accepted(request, services.request_resize(actor(request), vm_id, body.flavor))


@routes.get("vms/{vm_id}/operations", response=shapes.Page[shapes.Operation])
def list_vm_operations(request: HttpRequest, vm_id: str, wanted: Query[PageParams]) -> shapes.Page[shapes.Operation]:
    """Return what was done to a machine, the latest first."""
    vm = get_vm_for(caller(request), vm_id)
    return paged(Operation.objects.filter(vm=vm, project=vm.project_id), ["-created_at", "-id"], wanted, show.operation)


Service = Callable[[Actor, UUID | str], tuple[VirtualMachine, Operation]]


def _power(request: HttpRequest, service: Service, vm_id: str) -> Accepted:
    return _accepted(request, service(actor(request), vm_id))


def _accepted(request: HttpRequest, done: tuple[VirtualMachine, Operation]) -> Accepted:
    """Show the machine as it is now, and the operation that was journaled."""
    vm, operation = done
    seen = get_vm_for(caller(request), vm.pk)
    return Status(202, shapes.VmAndOperation(vm=show.vm(seen), operation=show.operation(operation)))
