"""The steps that make a machine. Each looks before it acts: run twice, the work is done once."""

from django.conf import settings
from django.utils.translation import gettext as _

from hypervisor.errors import AgentUnavailable, AlreadyExists
from hypervisor.specs import DomainState

from ..models import VirtualMachine, Volume
from ..states import OperationKind
from . import blueprint
from .context import Context, StepFailed


def volumes_of(vm: VirtualMachine) -> list[Volume]:
    return list(vm.volumes.select_related("pool", "base_image").order_by("disk_index"))


def ensure_address(ctx: Context) -> None:
    """Each card may use the address that its row has, and DHCP gives it to it where there is DHCP.

    A card that has the address beside it has it no more by its row, where an address is on one card alone: what a reset
    put away, or what a reset that was broken off has left.
    """
    for nic in ctx.vm.nics.filter(linked=True).select_related("network"):
        network = nic.network.name
        ctx.guard()
        try:
            ctx.hypervisor.ensure_address(network, nic.mac, nic.address)
        except AlreadyExists:
            for mac, address in ctx.hypervisor.addresses(network).items():
                if address == nic.address and mac != nic.mac.lower():
                    ctx.guard()
                    ctx.hypervisor.remove_address(network, mac)
            ctx.guard()
            ctx.hypervisor.ensure_address(network, nic.mac, nic.address)


def ensure_disk(ctx: Context) -> None:
    """The overlay exists. It costs the same whatever the image's size."""
    for volume in volumes_of(ctx.vm):
        ctx.guard()
        ctx.hypervisor.ensure_volume(blueprint.volume_spec(volume))


def ensure_seed(ctx: Context) -> None:
    """The image with host name, keys and user data exists."""
    pool = volumes_of(ctx.vm)[0].pool
    ctx.guard()
    ctx.hypervisor.ensure_seed(pool.name, ctx.vm.seed_name, blueprint.seed_spec(ctx.vm))


def ensure_domain(ctx: Context) -> None:
    """The domain is defined as the rows say. A disk that has gone is never replaced by an empty one."""
    volumes = volumes_of(ctx.vm)
    for volume in volumes:
        facts = ctx.hypervisor.volume(volume.pool.name, volume.file_name)
        if facts is None:
            raise StepFailed("storage_missing", _("The disk of this machine is missing from its storage pool."))
        if not facts.holds(volume.size_gib * blueprint.GIB):
            raise StepFailed("storage_missing", _("The disk of this machine has been cut off in its storage pool."))
    found = ctx.domain()
    if found is None or found.state in (DomainState.STOPPED, DomainState.CRASHED):
        ctx.guard()
        ctx.hypervisor.define(blueprint.domain_spec(ctx.vm, volumes))
    ctx.observe()


def ensure_running(ctx: Context) -> None:
    """The domain runs (a suspended one continues where it was)."""
    if ctx.state() not in (DomainState.RUNNING, DomainState.PAUSED):
        ctx.guard()
        ctx.hypervisor.start(ctx.vm.domain_uuid)
    ctx.observe()


def ensure_agent(ctx: Context) -> None:
    """The guest answers. Images without an agent count as answering once they run."""
    if not ctx.vm.image.has_agent:
        return
    seconds = settings.AGENT_WAIT.total_seconds()
    if not ctx.wait_until(lambda: agent_answers(ctx), seconds):
        raise StepFailed(
            "guest_timeout",
            _("The machine runs, but its guest did not answer in %(n)s s. Open its console to see why.")
            % {"n": int(seconds)},
        )


def agent_answers(ctx: Context) -> bool:
    """Does the guest agent answer a ping? A domain that stopped meanwhile, or found no room to write, ends the wait."""
    try:
        ctx.hypervisor.agent(ctx.vm.domain_uuid, "guest-ping", timeout_seconds=2)
        return True
    except AgentUnavailable:
        found = ctx.domain()
        if found is not None and found.state is DomainState.PAUSED and found.reason == "io_error":
            ctx.observe()
            sentence = _("The storage pool or the node is full. An admin has to make room.")
            raise StepFailed("pool_full", sentence) from None
        if ctx.operation.kind == OperationKind.CREATE and (
            found is None or found.state in (DomainState.STOPPED, DomainState.CRASHED)
        ):
            ctx.observe()
            raise StepFailed(
                "guest_stopped",
                _("The guest switched itself off while it booted. Start it and watch its console."),
            ) from None
        return False
