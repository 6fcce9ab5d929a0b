"""Power, size and end of a machine."""

from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from accounts.access import Verb
from accounts.actor import Actor
from accounts.refusals import BadInput, InvalidState
from accounts.retrying import retried

from .. import quotas
from ..models import Flavor, Operation, VirtualMachine
from ..queries import get_flavor, get_vm_for
from ..states import HOLDS_MEMORY, DesiredState, OperationKind, Role
from .begin import begin

Answer = tuple[VirtualMachine, Operation]


@retried
@transaction.atomic
def request_power(actor: Actor, vm_id: UUID | str, kind: str) -> Answer:
    """Journal one of the verbs that need no quota: stop, force_off, reboot, pause, resume."""
    vm = get_vm_for(actor.who, vm_id, Verb.CHANGE, lock=True)
    if kind == OperationKind.RESUME:
        refuse_sandbox(vm)
    return vm, begin(actor, vm, kind)


def request_stop(actor: Actor, vm_id: UUID | str) -> Answer:
    """Ask the guest to shut down; ends `guest_timeout` when it does not."""
    return request_power(actor, vm_id, OperationKind.STOP)


def request_force_off(actor: Actor, vm_id: UUID | str) -> Answer:
    """Switch off at once. Takes the place of a stop or reboot that the guest ignores."""
    return request_power(actor, vm_id, OperationKind.FORCE_OFF)


def request_reboot(actor: Actor, vm_id: UUID | str) -> Answer:
    return request_power(actor, vm_id, OperationKind.REBOOT)


def request_pause(actor: Actor, vm_id: UUID | str) -> Answer:
    return request_power(actor, vm_id, OperationKind.PAUSE)


def request_resume(actor: Actor, vm_id: UUID | str) -> Answer:
    return request_power(actor, vm_id, OperationKind.RESUME)


@retried
@transaction.atomic
def request_start(actor: Actor, vm_id: UUID | str) -> Answer:
    """Journal a start, counted against the running quota of the project and of whoever made the machine."""
    vm = get_vm_for(actor.who, vm_id, Verb.CHANGE)
    quotas.lock(vm.project)  # the project before the machine, always: no two requests can wait for each other
    vm = get_vm_for(actor.who, vm_id, Verb.CHANGE, lock=True)
    refuse_sandbox(vm)
    if vm.failure == "create_failed":
        raise InvalidState(_("This machine was never finished. Try the create again, or delete it."))
    operation = begin_checked_start(actor, vm)
    return vm, operation


def refuse_sandbox(vm: VirtualMachine) -> None:
    """Raise InvalidState for what a sandbox has verbs of its own for: its lease decides when it may run."""
    if vm.role != Role.MACHINE:
        raise InvalidState(_("This is a sandbox: use what sandboxes have for that, or keep it as a machine first."))


def begin_checked_start(actor: Actor, vm: VirtualMachine) -> Operation:
    """Begin a start whose running quota is checked first; the caller holds both locks."""
    counts_already = vm.desired_state == DesiredState.RUNNING or vm.observed_state in HOLDS_MEMORY
    if not counts_already:
        with transaction.atomic():  # refused for its state before it is refused for quota
            quotas.require(vm.project, vm.created_by, quotas.needs_running(vm.vcpus, vm.memory_mib), exclude=vm.pk)
    return begin(actor, vm, OperationKind.START)


@retried
@transaction.atomic
def request_resize(actor: Actor, vm_id: UUID | str, flavor_ref: str) -> Answer:
    """Change the flavor of a machine that is off: grows the disk, never shrinks it. The rows change when it is done."""
    flavor = get_flavor(flavor_ref)
    vm = get_vm_for(actor.who, vm_id, Verb.CHANGE)
    quotas.lock(vm.project)
    vm = get_vm_for(actor.who, vm_id, Verb.CHANGE, lock=True)
    refuse_sandbox(vm)
    _check_size(vm, flavor)
    operation = begin(actor, vm, OperationKind.RESIZE, flavor=str(flavor.pk), before=_size_of(vm))
    growth = {
        "vcpus": flavor.vcpus - vm.vcpus,
        "memory_mib": flavor.memory_mib - vm.memory_mib,
        "disk_gib": flavor.disk_gib - vm.disk_gib,
    }
    quotas.require(vm.project, vm.created_by, growth, exclude=vm.pk)
    # counted from now on, so that nobody else can take the room while the disk grows; undone if that fails
    VirtualMachine.objects.filter(pk=vm.pk).update(
        flavor=flavor, vcpus=flavor.vcpus, memory_mib=flavor.memory_mib, disk_gib=flavor.disk_gib
    )
    return get_vm_for(actor.who, vm_id, Verb.CHANGE), operation


def _size_of(vm: VirtualMachine) -> dict[str, str | int]:
    return {
        "flavor": str(vm.flavor_id),
        "vcpus": vm.vcpus,
        "memory_mib": vm.memory_mib,
        "disk_gib": vm.disk_gib,
    }


def _check_size(vm: VirtualMachine, flavor: Flavor) -> None:
    if flavor.disk_gib < vm.disk_gib:
        raise BadInput(
            {
                "flavor": [
                    _("Its disk has %(has)s GiB and %(flavor)s offers %(offers)s: a disk cannot shrink without loss.")
                    % {"has": vm.disk_gib, "flavor": flavor.name, "offers": flavor.disk_gib}
                ]
            }
        )
    if flavor.memory_mib < vm.image.min_memory_mib:
        raise BadInput({"flavor": [_("This image needs more memory than that size has.")]})


@retried
@transaction.atomic
def request_delete(actor: Actor, vm_id: UUID | str) -> Operation:
    """Begin the end of a machine, whatever it is doing. Asked again, the answer is the same operation."""
    vm = get_vm_for(actor.who, vm_id, Verb.CHANGE, lock=True)
    files = [volume.file_name for volume in vm.volumes.all()] + [vm.seed_name]
    macs = [nic.mac for nic in vm.nics.all()]
    return begin(actor, vm, OperationKind.DELETE, files=files, macs=macs)  # what the reaper may look for afterwards
