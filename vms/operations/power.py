"""Power: start is in `create`; here are the ways off, round and still."""

from django.conf import settings
from django.utils.translation import gettext as _

from hypervisor.errors import AgentUnavailable, HypervisorError
from hypervisor.specs import DomainState

from .context import Context, StepFailed

ASK_AGAIN_SECONDS = 20.0  # a guest that was still booting did not hear the first time
REBOOT_WAIT_SECONDS = 300.0
OFF = (None, DomainState.STOPPED, DomainState.CRASHED, DomainState.SUSPENDED)


def ask_stop(ctx: Context) -> None:
    """The guest has been asked to shut down."""
    state = ctx.state()
    if state in OFF:
        return
    if state is DomainState.PAUSED:
        raise StepFailed("invalid_state", _("Only a running machine can be asked to shut down."))
    ctx.guard()
    ctx.hypervisor.shutdown(ctx.vm.domain_uuid)


def ensure_stopped(ctx: Context) -> None:
    """The domain is off, by its own doing. Asked again now and then; never forced."""
    total = settings.STOP_WAIT.total_seconds()
    left = total
    while left > 0:
        if ctx.wait_until(lambda: ctx.state() in OFF, min(ASK_AGAIN_SECONDS, left)):
            ctx.observe()
            return
        left -= ASK_AGAIN_SECONDS
        if left > 0:
            ask_stop(ctx)
    ctx.observe()
    raise StepFailed(
        "guest_timeout",
        _("The guest did not shut down in %(n)s s. It may be saving. Try again, or force it off.") % {"n": int(total)},
    )


def ensure_forced_off(ctx: Context) -> None:
    """The domain does not run. What the guest had not written is lost."""
    if ctx.state() not in OFF or ctx.state() is DomainState.CRASHED:
        ctx.guard()
        force_off_if_active(ctx)
    ctx.observe()


def force_off_if_active(ctx: Context) -> None:
    """Force off, and believe the state rather than the error: libvirt reports failures of what was done."""
    try:
        ctx.hypervisor.force_off(ctx.vm.domain_uuid)
    except HypervisorError:
        if not ctx.wait_until(lambda: ctx.state() in OFF, 10):
            raise


def ask_reboot(ctx: Context) -> None:
    """The guest has been asked to reboot; its boot id from before is kept to tell that it did."""
    before = ctx.operation.data.get("boot_id")
    if before is None:
        ctx.remember(boot_id=boot_id(ctx))
    elif before and boot_id(ctx) not in ("", before):
        return  # an attempt that did not live to say so has asked, and it was done: not a second time
    if ctx.state() is not DomainState.RUNNING:
        raise StepFailed("invalid_state", _("Only a running machine can reboot. Start it."))
    ctx.guard()
    ctx.hypervisor.reboot(ctx.vm.domain_uuid)


def ensure_rebooted(ctx: Context) -> None:
    """The guest answers with another boot id. One that did not answer before cannot be watched: asking must do."""
    before = ctx.operation.data.get("boot_id", "")
    if before and not ctx.wait_until(lambda: _came_back(ctx, before), REBOOT_WAIT_SECONDS):
        raise StepFailed(
            "guest_timeout",
            _("The guest did not come back in %(n)s s. Open its console, or force it off and start it.")
            % {"n": int(REBOOT_WAIT_SECONDS)},
        )
    ctx.observe()


def _came_back(ctx: Context, before: str) -> bool:
    """Does the guest answer with another boot id? A domain that went off meanwhile ends the wait."""
    if boot_id(ctx) not in ("", before):
        return True
    if ctx.state() in (DomainState.STOPPED, DomainState.CRASHED):
        ctx.observe()
        raise StepFailed("guest_stopped", _("The machine went off while it rebooted. Start it and watch its console."))
    return False


def boot_id(ctx: Context) -> str:
    """Return the kernel's id of this boot as the guest tells it, or "" (no agent, no such file, nonsense)."""
    uuid = ctx.vm.domain_uuid
    try:
        handle = ctx.hypervisor.agent(uuid, "guest-file-open", {"path": "/proc/sys/kernel/random/boot_id"}, 2)
        read = ctx.hypervisor.agent(uuid, "guest-file-read", {"handle": handle, "count": 64}, 2)
        ctx.hypervisor.agent(uuid, "guest-file-close", {"handle": handle}, 2)
    except AgentUnavailable:
        return ""
    value = read.get("buf-b64", "") if isinstance(read, dict) else ""
    return value[:100] if isinstance(value, str) else ""


def ensure_paused(ctx: Context) -> None:
    """The domain's processors stand still."""
    if ctx.state() is DomainState.RUNNING:
        ctx.guard()
        ctx.hypervisor.pause(ctx.vm.domain_uuid)
    _expect(ctx, DomainState.PAUSED)


def ensure_resumed(ctx: Context) -> None:
    """The domain's processors run again."""
    if ctx.state() is DomainState.PAUSED:
        ctx.guard()
        ctx.hypervisor.resume(ctx.vm.domain_uuid)
    _expect(ctx, DomainState.RUNNING)


def _expect(ctx: Context, state: DomainState) -> None:
    found = ctx.observe()
    if found is None or found.state is not state:
        raise StepFailed("invalid_state", _("The machine stopped in the meantime. Nothing was changed."))
