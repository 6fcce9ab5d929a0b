"""The steps of a clone: its disk, the domain with the template's memory, and an identity of its own.

Each looks before it acts. A clone that is half made, or whose domain went off before it had an identity, is made anew:
nothing of value can be on its disk yet.
"""

import os
from pathlib import PurePosixPath

import structlog
from django.conf import settings
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from hypervisor.errors import AgentUnavailable
from hypervisor.identity import SEED_BYTES, new_host_key
from hypervisor.specs import DomainState, Identity, SeedSpec
from vms.operations import blueprint, create
from vms.operations.context import Context, StepFailed
from vms.operations.power import force_off_if_active
from vms.states import OperationKind, Role

from .. import running
from ..models import Sandbox, TemplateBuild
from . import guest, measures

log = structlog.get_logger(__name__)
NOT_NAMED_YET = "sandbox"  # what a spare calls itself: its screen goes on saying so until somebody types
FIRST_COMMAND = "sh -c 'id; ls / | cat; echo ready'"
WARM_UP_SECONDS = 5.0
IDLE_SHARE = 0.1  # of a processor
IDLE_AFTER_SECONDS = 8.0  # at the latest
KEEPS_DISK = (OperationKind.RESTORE,)
ON = (DomainState.RUNNING, DomainState.PAUSED)


def sandbox_of(ctx: Context) -> Sandbox:
    """Return the sandbox as this attempt found it; its build and template come with it."""
    if "sandbox" not in ctx.rows:
        ctx.rows["sandbox"] = Sandbox.objects.select_related("build__template").get(vm=ctx.vm)
    found: Sandbox = ctx.rows["sandbox"]
    return found


def _build_of(ctx: Context) -> TemplateBuild:
    build = sandbox_of(ctx).build
    if build is None:
        raise StepFailed("not_frozen", _("The template of this sandbox is not there any more. Delete it."))
    return build


def ensure_overlay(ctx: Context) -> None:
    """The disk on the template's frozen one exists, and so does the seed that the guest finds at its next boot."""
    build = _build_of(ctx)
    if ctx.state() in ON:  # a clone that waited, or one that an earlier attempt made
        return
    [volume] = create.volumes_of(ctx.vm)
    ctx.guard()
    ctx.hypervisor.ensure_volume(blueprint.volume_spec(volume))
    # The instance is the template's: a reboot must not make the guest a new one, with other host keys. Its name is on
    # its disk: one that stood here would be the one that it waited under.
    seed = SeedSpec(instance_id=build.pk, hostname="")
    ctx.guard()
    ctx.hypervisor.ensure_seed(volume.pool.name, ctx.vm.seed_name, seed)


def ensure_cloned(ctx: Context) -> None:
    """A paused domain stands where the template was frozen."""
    build = _build_of(ctx)
    found = ctx.domain()
    if found is not None and found.state in ON:
        if found.persistent:
            return  # else its maker was killed in the middle of it: the hypervisor makes it anew
    elif found is not None:
        _remove(ctx)
        ensure_overlay(ctx)
    ctx.guard()
    spec = blueprint.domain_spec(ctx.vm, create.volumes_of(ctx.vm))
    folder = PurePosixPath(settings.DATA_DIR) / build.folder
    ctx.hypervisor.clone(spec, folder, build.template.share_ram)


def _remove(ctx: Context) -> None:
    """Take away a domain and its disk."""
    if ctx.state() is DomainState.CRASHED:
        ctx.guard()
        force_off_if_active(ctx)
    for volume in create.volumes_of(ctx.vm):  # first: a disk that was written to is ahead of the template's memory
        ctx.guard()
        ctx.hypervisor.remove_volume(volume.pool.name, volume.file_name)
    ctx.guard()
    ctx.hypervisor.undefine(ctx.vm.domain_uuid)


def ensure_named(ctx: Context) -> None:
    """The clone runs and has acknowledged its own identity; commands that waited for it are begun."""
    sandbox = sandbox_of(ctx)
    if sandbox.build is None:  # booted and not cloned: it is nobody else's copy
        ctx.observe()
        return
    state, anew = ctx.state(), bool(ctx.operation.data.get("cloned_anew"))
    if ctx.operation.kind not in KEEPS_DISK and (anew or state not in ON):  # a spare whose QEMU died while it waited
        if not anew:  # whoever takes over from here finds it half made, or without what the template's clones lack
            ctx.remember(cloned_anew=True)
            anew = True
        create.ensure_address(ctx)
        ensure_overlay(ctx)
        ensure_cloned(ctx)
        state = ctx.state()
    if state is DomainState.PAUSED:
        ctx.guard()
        ctx.hypervisor.resume(ctx.vm.domain_uuid)
    fresh = ctx.operation.kind in (OperationKind.SPARE, OperationKind.CLONE, OperationKind.RESET)
    with_keys = anew or fresh or sandbox.named_at is None
    ctx.guard()
    try:
        ctx.hypervisor.identify(ctx.vm.domain_uuid, identity(ctx, with_keys=with_keys))
    except AgentUnavailable as error:
        ctx.observe()
        sentence = _("The clone did not acknowledge its identity. Reset the sandbox to try again.")
        raise StepFailed("guest_timeout", sentence, error.detail) from error
    ctx.guard()  # the guest may have taken its time, and a reset its place
    Sandbox.objects.filter(pk=sandbox.pk).update(named_at=Now())
    if ctx.vm.role == Role.SANDBOX:
        running.start_waiting(ctx.vm)
    ctx.observe()
    if ctx.operation.kind in (OperationKind.CLONE, OperationKind.CLAIM):
        measures.keep_ready(sandbox.build, ctx.operation.created_at)


def identity(ctx: Context, *, with_keys: bool) -> Identity:
    """What makes this clone another machine than its template: from its rows, and fresh randomness."""
    nic = ctx.vm.nics.select_related("network").get()
    return Identity(
        seed=os.urandom(SEED_BYTES),
        mac=nic.mac,
        address=nic.address,
        prefix_length=nic.network.prefix_length,
        gateway=nic.network.gateway,
        hostname=NOT_NAMED_YET if ctx.vm.role == Role.SPARE else ctx.vm.name,
        machine_id=ctx.vm.domain_uuid.hex,
        ssh_keys=(new_host_key(f"root@{ctx.vm.name}"),) if with_keys else (),
    )


def ensure_rested(ctx: Context) -> None:
    """The spare's processors stand still until it is handed out."""
    if ctx.state() is DomainState.RUNNING:
        _warm_up(ctx)
        _until_idle(ctx)
        ctx.guard()
        ctx.hypervisor.pause(ctx.vm.domain_uuid)
    found = ctx.observe()
    if found is None or found.state is not DomainState.PAUSED:
        raise StepFailed("spare_lost", _("The spare went away while it was made."))
    measures.keep_idle(_build_of(ctx), ctx.hypervisor.own_memory(ctx.vm.domain_uuid))


def _warm_up(ctx: Context) -> None:
    """Run a first command: an emulated processor translates what that takes once, and its claimer's is then faster."""
    ctx.guard()
    try:
        guest.execute(ctx, FIRST_COMMAND, WARM_UP_SECONDS)
    except (AgentUnavailable, StepFailed) as error:  # without an agent it is slower, and as good
        log.info("spare_not_warmed_up", vm=str(ctx.vm.pk), why=str(error))


def _until_idle(ctx: Context) -> None:
    """Let the guest do what its new identity made it do: what is left of that, whoever claims it would wait for."""
    seen: list[tuple[float, int]] = []

    def idle() -> bool:
        found = ctx.domain()
        if found is None or found.cpu_time_ns is None:
            return True
        seen.append((ctx.clock(), found.cpu_time_ns))
        if len(seen) < 2:
            return False
        (since, before), (now, used) = seen[-2:]
        return (used - before) / 1e9 < IDLE_SHARE * (now - since)

    ctx.wait_until(idle, IDLE_AFTER_SECONDS, first_seconds=0.5)


def ensure_saved(ctx: Context) -> None:
    """The sandbox's memory is on disk, and it holds none. One that is off already stays so."""
    if ctx.state() in ON:
        ctx.guard()
        ctx.hypervisor.save(ctx.vm.domain_uuid)
    ctx.observe()
