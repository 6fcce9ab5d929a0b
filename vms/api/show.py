"""From rows to what the API answers with."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.models import ApiToken, AuditEntry, Membership, Role, User

from ..models import Flavor, Image, Node, Operation, VirtualMachine
from ..models.sample import last_sample
from ..states import DesiredState, ObservedState, OperationStatus, Status, display_status, is_away
from . import shapes


def named(row: Any) -> shapes.Named:
    return shapes.Named(id=row.pk, name=row.name)


def user(row: User) -> shapes.User:
    return shapes.User(id=row.pk, username=row.username)


def vm(row: VirtualMachine, now: datetime | None = None) -> shapes.Vm:
    """Show a machine that was read with `queries.with_details`."""
    live: Operation | None = next(iter(row.live_operations), None)  # type: ignore[attr-defined]
    status, reason = display_status(
        row.facts(live.kind if live else ""), now or timezone.now(), settings.NODE_AWAY_AFTER
    )
    return shapes.Vm(
        id=row.pk,
        domain_uuid=row.domain_uuid,
        name=row.name,
        description=row.description,
        status=Status(status),
        status_reason=reason,
        desired_state=DesiredState(row.desired_state),
        observed_state=ObservedState(row.observed_state),
        observed_at=_still_so_at(row),
        vcpus=row.vcpus,
        memory_mib=row.memory_mib,
        disk_gib=row.disk_gib,
        image=named(row.image),
        flavor=named(row.flavor),
        node=named(row.node),
        project=named(row.project),
        ip_addresses=[nic.address for nic in row.nics.all() if nic.linked],
        operation=operation(live) if live else None,
        load=load(row),
        created_by=user(row.created_by),
        created_at=row.created_at,
        version=row.version,
    )


def load(row: VirtualMachine) -> shapes.Load | None:
    """Show what a machine uses, if it was sampled."""
    sample = last_sample(row)
    if sample is None:
        return None
    return shapes.Load(
        at=sample.at,
        cpu_percent=sample.cpu_percent,
        memory_used_mib=sample.memory_used_mib,
        disk_bytes_per_second=sample.disk_bytes_per_second,
        net_bytes_per_second=sample.net_bytes_per_second,
    )


def _still_so_at(row: VirtualMachine) -> datetime | None:
    """When was it last seen like this? The node compares all its domains; rows are written only for changes."""
    if row.observed_at is None or row.node.synced_at is None:
        return row.observed_at
    return max(row.observed_at, row.node.synced_at)


def operation(row: Operation) -> shapes.Operation:
    error = shapes.OperationError(code=row.error_code, detail=row.error_detail) if row.error_code else None
    return shapes.Operation(
        id=row.pk,
        kind=row.kind,
        status=OperationStatus(row.status),
        step=row.step,
        progress=row.progress,
        attempt=row.attempt,
        created_at=row.created_at,
        finished_at=row.finished_at,
        error=error,
        vm=shapes.OperationVm(id=row.vm_id, name=row.vm_name),
    )


def flavor(row: Flavor) -> shapes.Flavor:
    return shapes.Flavor(id=row.pk, name=row.name, vcpus=row.vcpus, memory_mib=row.memory_mib, disk_gib=row.disk_gib)


def image(row: Image) -> shapes.Image:
    return shapes.Image(
        id=row.pk,
        name=row.name,
        title=row.title,
        description=row.description,
        min_memory_mib=row.min_memory_mib,
        min_disk_gib=row.min_disk_gib,
        size_bytes=row.size_bytes,
        default_user=row.default_user,
        created_at=row.created_at,
    )


def member(row: Membership) -> shapes.Member:
    return shapes.Member(user=user(row.user), role=Role(row.role), created_at=row.created_at)


def token(row: ApiToken) -> shapes.Token:
    return shapes.Token(
        id=row.pk,
        name=row.name,
        hint=row.hint,
        scope=ApiToken.Scope(row.scope),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )


def node(row: Node, vms: int) -> shapes.Node:
    """Show a node that was read with its pools."""
    return shapes.Node(
        id=row.pk,
        name=row.name,
        virt_type=row.virt_type,
        arch=row.arch,
        cpu_model=row.cpu_model,
        vcpus=row.vcpus,
        memory_mib=row.memory_mib,
        memory_free_mib=row.memory_free_mib,
        cordoned=row.cordoned,
        cordon_reason=row.cordon_reason,
        hypervisor_ok=row.hypervisor_ok,
        away=is_away(row.synced_at, timezone.now(), settings.NODE_AWAY_AFTER),
        synced_at=row.synced_at,
        vms=vms,
        pools=[
            shapes.Pool(name=pool.name, capacity_bytes=pool.capacity_bytes, free_bytes=pool.free_bytes)
            for pool in row.pools.all()
        ],
    )


def audit_entry(row: AuditEntry) -> shapes.AuditEntry:
    return shapes.AuditEntry(
        id=row.pk,
        at=row.at,
        actor=row.actor_name,
        via=row.via,
        action=row.action,
        project=named(row.project) if row.project else None,
        target=shapes.AuditTarget(kind=row.target_kind, id=row.target_id, name=row.target_name),
        data=row.data,
        request_id=row.request_id,
        address=row.address,
    )
