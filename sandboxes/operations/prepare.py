"""A template is prepared: its builder has booted by the steps of any machine; it is made ready, quiet, and frozen.

The builder's id is its build's. What goes wrong ends the operation with a reason, and the last screen is kept. Either
way the builder is deleted by an operation of its own (sandboxes/endings.py).
"""

import os
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from hypervisor.errors import AgentUnavailable, HypervisorError
from hypervisor.identity import FORGET_KEYS, SEED_BYTES, reseeding
from hypervisor.specs import DomainState
from vms.operations import create
from vms.operations.context import Context, StepFailed

from ..models import TemplateBuild
from . import guest, measures

SETTLE_SECONDS = 300
SCRIPT = "/run/slipway-ready"
# what may still be under way when the agent answers: services, and what cloud-init does at a first boot
SETTLED = """
if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null 2>&1; fi
if command -v systemctl >/dev/null; then systemctl is-system-running --wait >/dev/null 2>&1; fi
exit 0
"""
# an attempt that finds the lock knows that another one has begun the script: it must not run twice
BEGIN = f"""
mkdir {SCRIPT}.d 2>/dev/null || exit 0
chmod 700 {SCRIPT}
cd /root 2>/dev/null || cd /
( {SCRIPT} </dev/null >{SCRIPT}.log 2>&1; echo $? >{SCRIPT}.d/code.new; mv {SCRIPT}.d/code.new {SCRIPT}.d/code ) \\
  </dev/null >/dev/null 2>&1 &
"""
BEGUN = f"test -d {SCRIPT}.d"
CODE = f"cat {SCRIPT}.d/code 2>/dev/null"
LOG = f"tail -c {guest.OUTPUT_TAIL_BYTES} {SCRIPT}.log 2>/dev/null"
# No address, no lease to renew and nobody to renew it: each clone is given its own. No time service either, which in a
# network without a way out never stops looking for one: the host sets a clone's clock whenever it begins or goes on.
# No host keys and no stored random numbers, which all clones would share: each is given keys of its own.
# The little that most commands begin with is read again at the end: in memory once, for all clones.
QUIET = f"""
PATH=/usr/sbin:/usr/bin:/sbin:/bin
rm -rf /run/slipway-ready*
{FORGET_KEYS} /var/lib/systemd/random-seed /var/lib/urandom/random-seed
for pid in $(pidof dropbear); do kill "$pid"; done
if command -v systemctl >/dev/null && systemctl is-active -q systemd-networkd; then
  systemctl stop systemd-networkd.socket systemd-networkd
  resolvectl dns "$CARD" "$DNS" 2>/dev/null
else
  for pid in $(pgrep -x network) $(pgrep udhcpc) $(pgrep dhclient); do kill "$pid" 2>/dev/null; done
fi
if command -v systemctl >/dev/null; then systemctl stop systemd-timesyncd chrony chronyd ntpsec 2>/dev/null; fi
ip addr flush dev "$CARD"
ip route flush dev "$CARD"
ip link set "$CARD" up
sync
echo 3 >/proc/sys/vm/drop_caches
for file in sh bash env cat ls id echo; do cat "$(command -v $file)"; done >/dev/null 2>&1
cat /etc/passwd /etc/group >/dev/null
exit 0
"""
# A clone begins with its template's random numbers, and must be able to draw others: by the listener, or as here.
LISTENS = "pidof slipway-identity >/dev/null 2>&1 && exit 0\n"
FIRST_CARD = "CARD=$(ls -d /sys/class/net/*/device | head -n 1); CARD=${CARD%/device}; CARD=${CARD##*/}\n"


def build_of(ctx: Context) -> TemplateBuild:
    return TemplateBuild.objects.select_related("template", "node").get(pk=ctx.vm.pk)


def folder_of(build: TemplateBuild) -> PurePosixPath:
    return PurePosixPath(settings.DATA_DIR) / build.folder


def _with_screen(work: Callable[[Context], None]) -> Callable[[Context], None]:
    """Keep the last screen of a guest that could not be made ready."""

    def step(ctx: Context) -> None:
        try:
            work(ctx)
        except (StepFailed, AgentUnavailable) as failure:
            _keep_screen(ctx)
            if isinstance(failure, StepFailed):
                raise
            sentence = _("The guest stopped answering while it was made ready.")
            raise StepFailed("guest_timeout", sentence, failure.detail) from failure

    return step


def _keep_screen(ctx: Context) -> None:
    try:
        picture = ctx.hypervisor.screenshot(ctx.vm.domain_uuid)
    except HypervisorError:  # off, or away: then there is none
        return
    TemplateBuild.objects.filter(pk=ctx.vm.pk).update(screenshot=picture)


@_with_screen
def ensure_booted(ctx: Context) -> None:
    """The guest answers, and has finished booting."""
    create.ensure_agent(ctx)
    measures.keep_boot(ctx.vm)
    if ctx.state() is not DomainState.RUNNING:
        raise StepFailed("guest_stopped", _("The guest switched itself off while it booted."))
    guest.execute(ctx, SETTLED, SETTLE_SECONDS)


@_with_screen
def ensure_ready(ctx: Context) -> None:
    """The template's ready script has been run, once, and ended well."""
    build = build_of(ctx)
    if not build.template.ready_script:
        return
    if guest.execute(ctx, BEGUN, 10)[0] != 0:
        guest.put(ctx, SCRIPT, build.template.ready_script.encode())
        ctx.guard()
        guest.execute(ctx, BEGIN, 30)
    seconds = settings.READY_SCRIPT_WAIT.total_seconds()
    said = ""

    def ended() -> bool:
        nonlocal said
        said = guest.execute(ctx, CODE, 10)[1].strip()
        return said != ""

    in_time = ctx.wait_until(ended, seconds, first_seconds=0.2)
    output = guest.execute(ctx, LOG, 10)[1]
    TemplateBuild.objects.filter(pk=build.pk).update(output=output)
    if not in_time:
        raise StepFailed("ready_timeout", _("The ready script did not end in %(n)s s.") % {"n": int(seconds)}, output)
    if said != "0":
        sentence = _("The ready script ended with exit code %(code)s.") % {"code": said[:10]}
        raise StepFailed("ready_script_failed", sentence, output)


@_with_screen
def ensure_quiet(ctx: Context) -> None:
    """The guest has no address and nothing unwritten: a clone begins where it stands now."""
    ctx.guard()
    if guest.execute(ctx, LISTENS + reseeding(os.urandom(SEED_BYTES)), 30)[0] != 0:
        sentence = _("Clones of this image would draw equal random numbers: it has no Python or Perl.")
        raise StepFailed("no_reseed", sentence)
    nic = ctx.vm.nics.select_related("network").get()
    ctx.guard()
    guest.execute(ctx, f"{FIRST_CARD}DNS={nic.network.gateway}\n{QUIET}", 120)


def ensure_frozen(ctx: Context) -> None:
    """Memory, device state and disk lie in the build's folder, and the builder's domain has gone."""
    build = build_of(ctx)
    folder = folder_of(build)
    ctx.guard()
    facts = ctx.hypervisor.freeze(ctx.vm.domain_uuid, folder)
    sizes: dict[str, Any] = {
        "ram_bytes": facts.ram_bytes, "state_bytes": facts.state_bytes, "disk_bytes": facts.disk_bytes,
    }  # fmt: skip
    TemplateBuild.objects.filter(pk=build.pk).update(fingerprint=facts.fingerprint, frozen_at=facts.frozen_at, **sizes)
    ctx.observe()
