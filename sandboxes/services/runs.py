"""Commands in sandboxes: asked for here, carried out by the gateway of the node (sandboxes/gateway_runs.py)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.access import Verb
from accounts.actor import Actor
from accounts.audit import record
from accounts.refusals import BadInput, InvalidState
from accounts.retrying import retried
from vms import broadcast
from vms.models import Operation
from vms.states import LIVE, MAKING, DesiredState
from vms.wellformed import Errors

from .. import gateway_runs, running
from ..models import Run, Sandbox
from ..queries import get_run_for, get_sandbox_for
from ..states import NOT_KEPT, LeaseStatus, RunStatus
from .lease import refuse_nameless

COMMAND_AT_MOST_BYTES = 48 * 1024  # with arguments and environment: they go to the guest in one message
STDIN_AT_MOST_BYTES = 512 * 1024
TIMEOUT_AT_MOST_SECONDS = 24 * 3600
RUNS_AT_ONCE = 50
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a person asks for: `command` for a shell, or `argv` as it is."""

    command: str = ""
    argv: Sequence[str] = ()
    stdin: bytes = field(default=b"", repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""
    timeout_seconds: int = 3600


@retried
def request_run(actor: Actor, vm_id: UUID | str, new: NewRun) -> Run:
    """Keep a command and begin it; while its sandbox is being made, it waits. BadInput, InvalidState."""
    _check(new)
    with transaction.atomic():
        sandbox = get_sandbox_for(actor.who, vm_id, Verb.CONSOLE, lock=True)
        may_begin = _check_sandbox(sandbox)
        run = Run.objects.create(
            vm=sandbox.vm, created_by=actor.who, command=new.command, argv=list(new.argv) or shell(new.command),
            stdin=new.stdin or None, env=dict(new.env), cwd=new.cwd, timeout_seconds=new.timeout_seconds,
        )  # fmt: skip
        run.refresh_from_db(fields=["created_at"])
        vm = sandbox.vm
        record(actor, "run.create", project=vm.project, kind="sandbox", target=vm.pk, name=vm.name, run=str(run.pk))
        note_use(sandbox)
        if may_begin:
            transaction.on_commit(partial(running.start, run.pk))
    return run


@retried
def note_use(sandbox: Sandbox) -> None:
    """Keep when a sandbox was last used, by which it is seen to be idle."""
    Sandbox.objects.filter(pk=sandbox.pk).update(used_at=Now())


def shell(command: str) -> list[str]:
    return ["/bin/sh", "-c", command]


def _check(new: NewRun) -> None:
    errors: Errors = {}
    if bool(new.command) == bool(new.argv):
        errors["command"] = [_("Give either a command or an argv.")]
    texts = [new.command, *new.argv, *new.env, *new.env.values(), new.cwd]
    if any("\x00" in text for text in texts):
        errors["command"] = [_("Zero bytes cannot be kept.")]
    elif sum(len(text.encode("utf-8", "replace")) + 1 for text in texts) > COMMAND_AT_MOST_BYTES:
        errors["command"] = [_("At most 48 KiB with its environment. Put a file into the sandbox for more.")]
    if bad := [name for name in new.env if not ENV_NAME.fullmatch(name)]:
        errors["env"] = [_("%(name)s is no name of a variable.") % {"name": bad[0][:50]}]
    if new.cwd and not new.cwd.startswith("/"):
        errors["cwd"] = [_("A folder begins with /.")]
    if len(new.stdin) > STDIN_AT_MOST_BYTES:
        errors["stdin"] = [_("At most 512 KiB. Put a file into the sandbox for more.")]
    if not 1 <= new.timeout_seconds <= TIMEOUT_AT_MOST_SECONDS:
        errors["timeout_seconds"] = [_("From 1 second to 24 hours.")]
    if errors:
        raise BadInput(errors)


def _check_sandbox(sandbox: Sandbox) -> bool:
    """Return whether a command can begin at once; InvalidState where it could never."""
    if sandbox.vm.desired_state == DesiredState.DELETED:
        raise InvalidState(_("This sandbox is being deleted."))
    if sandbox.lease_status == LeaseStatus.ENDED:
        raise InvalidState(_("This lease has ended. Take the sandbox back first."), code="lease_ended")
    if Run.objects.filter(vm=sandbox.vm, status__in=("pending", "running")).count() >= RUNS_AT_ONCE:
        raise InvalidState(_("Too many commands run in this sandbox already."), code="too_many_runs")
    if running.may_begin(sandbox.vm):
        refuse_nameless(sandbox)
        return True
    if not Operation.objects.filter(vm=sandbox.vm, status__in=LIVE, kind__in=[*MAKING, "start", "restore"]).exists():
        raise InvalidState(_("This sandbox does not run. Let it go on, or reset it."))
    return False


@retried
def request_kill(actor: Actor, run_id: UUID | str) -> Run:
    """End a command. One that waits ends at once; one that has ended stays as it is. NotVisible, Forbidden."""
    run = get_run_for(actor.who, run_id, Verb.CONSOLE)
    with transaction.atomic():
        waiting = Run.objects.filter(pk=run.pk, status=RunStatus.PENDING).update(
            status=RunStatus.KILLED, finished_at=Now(), kill_requested_at=Now(), **NOT_KEPT
        )
        if not waiting:
            asked = Run.objects.filter(pk=run.pk, status=RunStatus.RUNNING).update(kill_requested_at=Now())
            if asked:
                transaction.on_commit(partial(gateway_runs.kill, run))
    if waiting:
        broadcast.vm_changed(run.vm)
    run.refresh_from_db()
    return run
