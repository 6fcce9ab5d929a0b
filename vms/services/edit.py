"""Name and description: nothing that the domain knows, so no operation is needed."""

from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.access import Verb
from accounts.actor import Actor
from accounts.audit import record
from accounts.refusals import BadInput, InvalidState
from accounts.retrying import retried

from .. import broadcast
from ..models import VirtualMachine
from ..queries import get_vm_for
from ..states import DesiredState
from ..wellformed import check_name, check_text


@retried
@transaction.atomic
def request_rename(
    actor: Actor, vm_id: UUID | str, *, name: str | None = None, description: str | None = None
) -> VirtualMachine:
    """Change name or description (None leaves it). The host name inside the guest stays: it is the guest's."""
    vm = get_vm_for(actor.who, vm_id, Verb.CHANGE, lock=True)
    if vm.desired_state == DesiredState.DELETED:
        raise InvalidState(_("This machine is being deleted."))
    errors: dict[str, list[str | Promise]] = {}
    if name is not None:
        check_name(name, errors)
    if description is not None:
        check_text("description", description, 500, errors)
    if errors:
        raise BadInput(errors)
    before = vm.name
    vm.name = vm.name if name is None else name
    vm.description = vm.description if description is None else description
    try:
        with transaction.atomic():
            vm.save(update_fields=["name", "description"])
    except IntegrityError:
        raise BadInput({"name": [_("A machine of this name exists in the project already.")]}) from None
    record(actor, "vm.rename", project=vm.project, kind="vm", target=vm.pk, name=vm.name, before=before)
    broadcast.vm_changed(vm)
    return vm
