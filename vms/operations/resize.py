"""Another size for a machine that is off."""

from django.db import transaction
from django.utils.translation import gettext as _

from hypervisor.specs import DomainState

from ..models import Flavor, lock_vm
from . import blueprint
from .context import Context, StepFailed
from .create import volumes_of


def ensure_grown(ctx: Context) -> None:
    """The disk has the flavor's size. It never shrinks."""
    flavor = _flavor(ctx)
    _must_be_off(ctx)
    for volume in volumes_of(ctx.vm)[:1]:
        found = ctx.hypervisor.volume(volume.pool.name, volume.file_name)
        if found is None:
            raise StepFailed("storage_missing", _("The disk of this machine is missing from its storage pool."))
        if found.capacity_bytes < flavor.disk_gib * blueprint.GIB:
            ctx.guard()
            ctx.hypervisor.grow_volume(volume.pool.name, volume.file_name, flavor.disk_gib * blueprint.GIB)
        with transaction.atomic():
            lock_vm(ctx.vm.pk)
            ctx.guard()  # whoever takes the operation away gives the size back, and must not be overwritten
            ctx.vm.volumes.filter(pk=volume.pk).update(size_gib=flavor.disk_gib)


def ensure_redefined(ctx: Context) -> None:
    """The domain has the flavor's processors and memory."""
    _must_be_off(ctx)
    ctx.guard()
    ctx.hypervisor.define(blueprint.domain_spec(ctx.vm, volumes_of(ctx.vm)))
    ctx.observe()


def _flavor(ctx: Context) -> Flavor:
    return Flavor.objects.get(pk=ctx.operation.data["flavor"])


def _must_be_off(ctx: Context) -> None:
    found = ctx.observe()
    if found is not None and found.state not in (DomainState.STOPPED, DomainState.CRASHED):
        raise StepFailed("invalid_state", _("The machine was started in the meantime. Stop it and try again."))
