"""From rows to what the API answers with."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from vms.api import show
from vms.api.shapes import Named, User
from vms.models import VirtualMachine

from .. import models
from ..models import TemplateBuild
from ..states import BuildStatus, LeaseStatus, NetworkMode, RunStatus, why
from . import shapes


def template(row: models.Template, waiting: Mapping[UUID, int], may_change: bool) -> shapes.Template:
    """Show a template that was read with `queries.with_builds`; `waiting` is `queries.spares_by_build()`.

    Its script, and what that said, are for those alone who may change it: they may hold what others must not read.
    """
    return shapes.Template(
        id=row.pk,
        name=row.name,
        description=row.description,
        project=show.named(row.project) if row.project else None,
        image=show.named(row.image),
        flavor=show.named(row.flavor),
        vcpus=row.flavor.vcpus,
        memory_mib=row.flavor.memory_mib,
        disk_gib=row.flavor.disk_gib,
        ready_script=row.ready_script if may_change else None,
        share_ram=row.share_ram,
        network=NetworkMode(row.network),
        pool_size=row.pool_size,
        lease_minutes=row.lease_minutes,
        idle_minutes=row.idle_minutes,
        builds=[
            build(one, row, waiting.get(one.pk, 0), may_change)
            for one in row.shown_builds  # type: ignore[attr-defined]
        ],
        created_at=row.created_at,
    )


def build(row: TemplateBuild, of: models.Template, waiting: int, may_change: bool) -> shapes.Build:
    return shapes.Build(
        id=row.pk,
        node=show.named(row.node),
        status=BuildStatus(row.status),
        fits=row.fits(of),
        reason=row.reason,
        detail=row.reason_detail,
        output=row.output if may_change else None,
        size_bytes=row.size_bytes,
        waiting=waiting,
        ready_ms=row.ready_ms,
        boot_ms=row.boot_ms,
        idle_mib=row.idle_mib,
        operation=row.operation_id,
        created_at=row.created_at,
        frozen_at=row.frozen_at,
    )


def sandbox(row: models.Sandbox, now: datetime | None = None) -> shapes.Sandbox:
    """Show a sandbox that was read with `queries.sandboxes_with_details` or `get_sandbox_for`."""
    now = now or timezone.now()
    vm = show.vm(row.vm, now)
    return shapes.Sandbox(
        id=row.vm_id,
        name=vm.name,
        status=vm.status,
        status_reason=vm.status_reason,
        template=show.named(row.template),
        project=vm.project,
        network=NetworkMode(row.network),
        lease=lease(row, now),
        ready=is_ready(row),
        claimed=row.claimed,
        plain_reason=row.plain_reason,
        ip_addresses=vm.ip_addresses,
        operation=vm.operation,
        vm=vm,
    )


def is_ready(row: models.Sandbox) -> bool:
    live = getattr(row.vm, "live_operations", [])
    return row.vm.observed_state == "running" and (row.build_id is None or row.named_at is not None) and not live


def lease(row: models.Sandbox, now: datetime) -> shapes.Lease:
    return shapes.Lease(
        status=LeaseStatus(row.lease_status),
        minutes=row.lease_minutes,
        seconds_left=int(row.left(now).total_seconds()),
        expires_at=row.expires_at,
        ended_at=row.ended_at,
        grace_until=row.grace_until,
    )


def run(row: models.Run) -> shapes.Run:
    """Show a run that was read with its machine and its maker."""
    vm: VirtualMachine = row.vm
    until = row.finished_at or timezone.now()
    problem = shapes.RunError(code=row.error_code, detail=why(row.error_code, row.error_detail))
    return shapes.Run(
        id=row.pk,
        sandbox=Named(id=vm.pk, name=vm.name),
        command=row.command,
        argv=row.argv,
        cwd=row.cwd,
        timeout_seconds=row.timeout_seconds,
        status=RunStatus(row.status),
        exit_code=row.exit_code,
        signal=row.signal,
        error=problem if row.error_code else None,
        stdout_bytes=row.stdout_bytes,
        stderr_bytes=row.stderr_bytes,
        stdout_truncated=row.stdout_truncated,
        stderr_truncated=row.stderr_truncated,
        seconds=max(0.0, (until - row.started_at).total_seconds()) if row.started_at else None,
        created_by=User(id=row.created_by.pk, username=row.created_by.username),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
