"""The end of a machine: finalizers one by one, and the row goes when absence has been seen."""

from pathlib import Path

from django.db import transaction

from hypervisor.errors import WrongState

from .. import broadcast
from ..models import Nic, VirtualMachine, Volume
from . import blueprint
from .context import Context
from .create import volumes_of
from .power import ensure_forced_off


def ensure_undefined(ctx: Context) -> None:
    """Libvirt knows no such domain, also when somebody started it since it was forced off."""
    if ctx.domain() is not None:
        ensure_forced_off(ctx)
        ctx.guard()
        ctx.hypervisor.undefine(ctx.vm.domain_uuid)
    ctx.observe()


def ensure_no_disks(ctx: Context) -> None:
    """Neither disk nor seed nor socket is left in pool and folder."""
    for volume in volumes_of(ctx.vm):
        ctx.guard()
        ctx.hypervisor.remove_volume(volume.pool.name, ctx.vm.seed_name)
        ctx.hypervisor.remove_volume(volume.pool.name, volume.file_name)
    Path(blueprint.serial_socket(ctx.vm)).unlink(missing_ok=True)
    for channel in ("identity", "run"):
        if socket := blueprint.channel_socket(ctx.vm, channel):
            Path(socket).unlink(missing_ok=True)


def ensure_no_address(ctx: Context) -> None:
    """Neither DHCP nor a network's guard knows the machine's cards any more."""
    for nic in ctx.vm.nics.filter(linked=True).select_related("network"):
        ctx.guard()
        ctx.hypervisor.remove_address(nic.network.name, nic.mac)


def ensure_gone(ctx: Context) -> None:
    """Nothing is left; so the rows may go. The operation's own row stays."""
    ctx.guard()
    left = [ctx.domain()] + [
        ctx.hypervisor.volume(volume.pool.name, name)
        for volume in volumes_of(ctx.vm)
        for name in (volume.file_name, ctx.vm.seed_name)
    ]
    if any(left):
        raise WrongState("something of the machine is still there after all finalizers")
    with transaction.atomic():
        VirtualMachine.objects.select_for_update().filter(pk=ctx.vm.pk).first()  # gone: the guard says so
        ctx.guard()
        Volume.objects.filter(vm=ctx.vm).delete()
        Nic.objects.filter(vm=ctx.vm).delete()
        broadcast.vm_gone(ctx.vm)
        VirtualMachine.objects.filter(pk=ctx.vm.pk).delete()
