"""A new machine: checked, counted, placed and journaled in one transaction."""

from dataclasses import dataclass, field
from uuid import UUID

import bcrypt
from django.db import IntegrityError, transaction
from django.utils.translation import gettext_lazy as _

from accounts.access import Verb, get_project_for
from accounts.actor import Actor
from accounts.audit import record
from accounts.models import Project
from accounts.refusals import BadInput, InvalidState
from accounts.retrying import retried

from .. import broadcast, placement, quotas
from ..models import Flavor, Image, Operation, VirtualMachine, Volume
from ..queries import find_image_and_flavor, get_vm_for
from ..sealing import seal
from ..states import DesiredState, OperationKind
from ..wellformed import Errors, check_name, check_password, check_ssh_keys, check_text, check_user_data
from .begin import begin, journal
from .power import refuse_sandbox


@dataclass(frozen=True, slots=True)
class NewVm:
    """What a person asks for. `image`, `flavor` and `project` are ids or names; None is the personal project."""

    name: str
    image: str
    flavor: str
    project: str | None = None
    description: str = ""
    ssh_keys: tuple[str, ...] = ()
    password: str = field(default="", repr=False)
    user_data: str = field(default="", repr=False)
    start: bool = True


@retried
def request_create(actor: Actor, new: NewVm) -> tuple[VirtualMachine, Operation]:
    """Journal a new machine. BadInput, NotVisible, Forbidden, QuotaExceeded, placement.NoRoom."""
    project = _project(actor, new)
    image, flavor = _checked(new)
    # a slow hash on purpose: outside of the transaction, which holds the quota's lock
    password_hash = bcrypt.hashpw(new.password.encode(), bcrypt.gensalt(10, b"2a")).decode() if new.password else ""
    sealed = seal({"ssh_keys": list(new.ssh_keys), "password_hash": password_hash, "user_data": new.user_data})
    with transaction.atomic():
        quotas.lock(project)
        if (
            VirtualMachine.objects.filter(project=project, name=new.name)
            .exclude(desired_state=DesiredState.DELETED)
            .exists()
        ):
            raise _taken()
        amounts = quotas.needs(flavor.vcpus, flavor.memory_mib, flavor.disk_gib, running=new.start)
        quotas.require(project, actor.who, amounts)
        place = placement.choose(flavor.memory_mib if new.start else 0)
        try:
            with transaction.atomic():
                vm = VirtualMachine.objects.create(
                    project=project,
                    created_by=actor.who,
                    name=new.name,
                    description=new.description,
                    node=place.node,
                    image=image,
                    flavor=flavor,
                    vcpus=flavor.vcpus,
                    memory_mib=flavor.memory_mib,
                    disk_gib=flavor.disk_gib,
                    sealed_seed=sealed,
                    desired_state=DesiredState.RUNNING if new.start else DesiredState.STOPPED,
                )
        except IntegrityError:
            raise _taken() from None
        Volume.objects.create(vm=vm, pool=place.pool, base_image=image, size_gib=flavor.disk_gib)
        placement.give_card(vm, place.network)
        operation = journal(actor, vm, OperationKind.CREATE, {"start": new.start})
        record(
            actor,
            "vm.create",
            project=project,
            kind="vm",
            target=vm.pk,
            name=vm.name,
            image=image.name,
            flavor=flavor.name,
            operation=str(operation.pk),
        )
        broadcast.vm_changed(vm)
    return vm, operation


def _project(actor: Actor, new: NewVm) -> Project:
    return get_project_for(actor.who, new.project, Verb.CHANGE)


def _taken() -> BadInput:
    return BadInput({"name": [_("A machine of this name exists in the project already.")]})


def _checked(new: NewVm) -> tuple[Image, Flavor]:
    """Return image and flavor, or raise one BadInput with every field that is wrong."""
    errors: Errors = {}
    check_name(new.name, errors)
    check_text("description", new.description, 500, errors)
    check_ssh_keys(new.ssh_keys, errors)
    check_password(new.password, errors)
    check_user_data(new.user_data, errors)
    image, flavor = find_image_and_flavor(new.image, new.flavor, errors)
    if image and flavor:
        _fits(image, flavor, errors)
    if errors or image is None or flavor is None:
        raise BadInput(errors)
    return image, flavor


def _fits(image: Image, flavor: Flavor, errors: Errors) -> None:
    if flavor.disk_gib < image.min_disk_gib:
        errors["flavor"] = [
            _("%(image)s needs a disk of %(needed)s GiB; %(flavor)s has %(has)s. Pick a larger size.")
            % {
                "image": image.name,
                "needed": image.min_disk_gib,
                "flavor": flavor.name,
                "has": flavor.disk_gib,
            }
        ]
    elif flavor.memory_mib < image.min_memory_mib:
        errors["flavor"] = [
            _("%(image)s needs %(needed)s MiB of memory; %(flavor)s has %(has)s. Pick a larger size.")
            % {
                "image": image.name,
                "needed": image.min_memory_mib,
                "flavor": flavor.name,
                "has": flavor.memory_mib,
            }
        ]


@retried
@transaction.atomic
def request_create_again(actor: Actor, vm_id: UUID | str) -> tuple[VirtualMachine, Operation]:
    """Try a failed create again: every step looks first, so what is there already stays."""
    vm = get_vm_for(actor.who, vm_id, Verb.CHANGE)
    quotas.lock(vm.project)
    vm = get_vm_for(actor.who, vm_id, Verb.CHANGE, lock=True)
    refuse_sandbox(vm)
    if vm.failure != "create_failed":
        raise InvalidState(_("Only a create that failed can be tried again."))
    last = Operation.objects.filter(vm=vm, kind=OperationKind.CREATE).order_by("-created_at").first()
    start = last.starts if last else True
    if start and vm.desired_state != DesiredState.RUNNING:
        quotas.require(vm.project, vm.created_by, quotas.needs_running(vm.vcpus, vm.memory_mib), exclude=vm.pk)
        VirtualMachine.objects.filter(pk=vm.pk).update(desired_state=DesiredState.RUNNING)
    return vm, begin(actor, vm, OperationKind.CREATE, start=start)
