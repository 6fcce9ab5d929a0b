"""How runs went, written by the gateway of their node: begun once, ended once, whatever happens in between.

The gateway calls this with the database alone; nothing here reaches the hypervisor.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now
from django.utils.translation import override

from accounts import clock
from vms import broadcast
from vms.models import VirtualMachine
from vms.states import DesiredState

from .models import Run
from .states import NOT_KEPT, RUN_ENDED, RUN_LIVE, RunStatus, why

KEPT_RUNS = 50  # of each machine that have ended: no quota counts their output, on the disk that machines are on
FORGOTTEN_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Job:
    """A run that this node's gateway carries. `age_seconds` is since it was begun."""

    id: UUID
    vm_id: UUID
    domain_uuid: UUID
    argv: list[str]
    env: dict[str, str]
    cwd: str
    stdin: bytes = field(repr=False)
    timeout_seconds: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended; `totals` and `truncated` are of stdout and stderr."""

    status: RunStatus
    exit_code: int | None = None
    signal: int | None = None
    error_code: str = ""
    error_detail: str = ""
    totals: tuple[int, int] = (0, 0)
    truncated: tuple[bool, bool] = (False, False)


def begin(run_id: UUID, node: str) -> Job | None:
    """Take a waiting run of this node, or None where it is none: of any number of callers one gets it."""
    rows = Run.objects.filter(pk=run_id, vm__node__name=node)
    with_domain = rows.values_list("vm__domain_uuid", flat=True).first()
    won = Run.objects.filter(pk__in=rows.values("pk"), status=RunStatus.PENDING, kill_requested_at=None).update(
        status=RunStatus.RUNNING, started_at=Now(), domain_uuid=with_domain
    )
    return _job(rows.get()) if won else None


def begun(node: str) -> list[UUID]:
    """Return the runs of this node that are under way: those that its gateway should be carrying."""
    rows = Run.objects.filter(status=RunStatus.RUNNING, vm__node__name=node).order_by("started_at")
    return list(rows.values_list("pk", flat=True))


def job(run_id: UUID) -> Job | None:
    """Return a run under way, to go on with."""
    run = Run.objects.filter(pk=run_id, status=RunStatus.RUNNING).first()
    return _job(run) if run is not None and run.domain_uuid is not None else None


def _job(run: Run) -> Job:
    assert run.domain_uuid is not None
    age = (clock.now() - run.started_at).total_seconds() if run.started_at else 0.0
    return Job(
        run.pk, run.vm_id, run.domain_uuid, list(run.argv), dict(run.env), run.cwd, bytes(run.stdin or b""),
        run.timeout_seconds, max(0.0, age),
    )  # fmt: skip


def still_wanted(run_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Return, for each that is still under way, whether somebody asked for its end."""
    rows = Run.objects.filter(pk__in=run_ids, status=RunStatus.RUNNING)
    return {pk: asked is not None for pk, asked in rows.values_list("pk", "kill_requested_at")}


def end(run_id: UUID, ending: Ending) -> bool:
    """Write how it ended, and hint those who look at its machine; False where somebody else ended it first.

    Not one transaction: who ends runs because of their machine holds the machine's lock first and theirs then.
    """
    said = {
        "stdout_bytes": ending.totals[0], "stderr_bytes": ending.totals[1],
        "stdout_truncated": ending.truncated[0], "stderr_truncated": ending.truncated[1],
    }  # fmt: skip
    done = Run.objects.filter(pk=run_id, status__in=RUN_LIVE).update(
        status=ending.status,
        exit_code=ending.exit_code,
        signal=ending.signal,
        error_code=ending.error_code,
        error_detail=ending.error_detail[:500],
        finished_at=Now(),
        **said,
        **NOT_KEPT,
    )
    if not done:  # what it said until then is kept all the same
        Run.objects.filter(pk=run_id).update(**said)
    vm = VirtualMachine.objects.only("project", "version").filter(runs=run_id).first() if done else None
    if vm is not None:
        broadcast.vm_changed(vm)
    return bool(done)


def forget_old(vm_id: UUID) -> list[UUID]:
    """Forget a machine's commands but for the last that ended; return those that were, whose output can go."""
    ended = Run.objects.filter(vm=vm_id, status__in=RUN_ENDED).order_by("-finished_at", "-created_at")
    old = list(ended.values_list("pk", flat=True)[KEPT_RUNS : KEPT_RUNS + FORGOTTEN_AT_ONCE])
    if old:
        Run.objects.filter(pk__in=old).delete()
    return old


def facts(run_id: UUID, node: str, language: str = "") -> dict[str, Any] | None:
    """Return what tells how a run of this node is doing, in a reader's language, or None where there is none."""
    rows = Run.objects.filter(pk=run_id, vm__node__name=node)
    found = rows.values("status", "exit_code", "signal", "error_code", "error_detail").first()
    if found is None:
        return None
    with override(language if language in dict(settings.LANGUAGES) else settings.LANGUAGE_CODE):
        return {**found, "error_detail": why(found["error_code"], found["error_detail"])}


def what_happened(vm_id: UUID, domain_uuid: UUID) -> tuple[str, str]:
    """Return why a domain that had a run is not there any more: a code, and a sentence."""
    vm = VirtualMachine.objects.filter(pk=vm_id).values("domain_uuid", "desired_state").first()
    if vm is None or vm["desired_state"] == DesiredState.DELETED:
        return "deleted", "The machine was deleted while this ran."
    if vm["domain_uuid"] != domain_uuid:
        return "reset", "The sandbox was reset while this ran."
    if vm["desired_state"] == DesiredState.RUNNING:
        return "machine_gone", "The machine went away or restarted while this ran."
    return "machine_off", "The machine was switched off, or paused to disk, while this ran."


def without_rows(run_ids: Collection[UUID]) -> set[UUID]:
    """Return those of these ids that are no runs any more."""
    return set(run_ids) - set(Run.objects.filter(pk__in=run_ids).values_list("pk", flat=True))
