"""A new sandbox: a waiting clone handed out, a fresh clone, or a plain boot that says why it is one."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts import clock
from accounts.access import Verb, get_project_for
from accounts.actor import Actor
from accounts.audit import record
from accounts.dimensions import Dimension
from accounts.models import Project
from accounts.refusals import BadInput
from accounts.retrying import retried
from vms import placement, quotas
from vms.models import Operation, VirtualMachine, Volume
from vms.sealing import seal
from vms.services.begin import begin
from vms.states import DesiredState, NetworkKind, OperationKind, Role
from vms.wellformed import Errors, check_name

from .. import ledger, pool
from ..models import Sandbox, Template, TemplateBuild
from ..queries import find_template, fitting_builds
from ..states import BuildStatus, NetworkMode
from .wellformed import check_lease, check_network

NETWORK_OF = {
    NetworkMode.NONE: NetworkKind.ISOLATED,
    NetworkMode.ISOLATED: NetworkKind.ISOLATED,
    NetworkMode.NAT: NetworkKind.NAT,
}


@dataclass(frozen=True, slots=True)
class NewSandbox:
    """What a person asks for. `template` and `project` are ids or names; what is None comes from the template."""

    template: str
    name: str | None = None
    project: str | None = None
    lease_minutes: int | None = None
    network: str | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The same, checked."""

    template: Template
    project: Project
    name: str
    lease_minutes: int
    network: str


@retried
def request_sandbox(actor: Actor, new: NewSandbox) -> tuple[Sandbox, Operation]:
    """Journal a new sandbox. BadInput, NotVisible, Forbidden, QuotaExceeded, placement.NoRoom."""
    project = get_project_for(actor.who, new.project, Verb.CHANGE)
    template = find_template(actor.who, new.template, project)
    wanted = _checked(new, template, project)
    with transaction.atomic():
        quotas.lock(project)
        if _name_is_taken(wanted):
            raise taken()
        now = clock.now()
        quotas.require(project, actor.who, _needs(wanted, now))
        try:
            with transaction.atomic():
                sandbox, kind = _place(actor, wanted)
        except IntegrityError:
            raise taken() from None
        _begin_lease(sandbox, wanted.lease_minutes, now)
        operation = begin(actor, sandbox.vm, kind)
        record(
            actor, "sandbox.create", project=project, kind="sandbox", target=sandbox.vm_id, name=sandbox.vm.name,
            template=template.name, network=wanted.network, lease_minutes=wanted.lease_minutes,
            operation=str(operation.pk), claimed=sandbox.claimed, plain=bool(sandbox.plain_reason),
        )  # fmt: skip
    return sandbox, operation


def _checked(new: NewSandbox, template: Template, project: Project) -> _Wanted:
    errors: Errors = {}
    name = new.name or f"{template.name[:50]}-{secrets.token_hex(3)}"
    check_name(name, errors)
    lease = template.usual_lease_minutes if new.lease_minutes is None else new.lease_minutes
    check_lease(lease, errors)
    network = new.network or template.network
    check_network(network, errors)
    if errors:
        raise BadInput(errors)
    return _Wanted(template, project, name, lease, network)


def taken() -> BadInput:
    return BadInput({"name": [_("A machine of this name exists in the project already.")]})


def _name_is_taken(wanted: _Wanted) -> bool:
    rows = VirtualMachine.objects.filter(project=wanted.project, name=wanted.name)
    return rows.exclude(desired_state=DesiredState.DELETED).exists()


def _needs(wanted: _Wanted, now: datetime) -> quotas.Amounts:
    flavor = wanted.template.flavor
    amounts = quotas.needs(flavor.vcpus, flavor.memory_mib, flavor.disk_gib, running=True, as_a=Dimension.SANDBOXES)
    minutes = ledger.minutes_now(now, now + timedelta(minutes=wanted.lease_minutes))
    return amounts | {Dimension.SANDBOX_MINUTES.value: minutes}


def _place(actor: Actor, wanted: _Wanted) -> tuple[Sandbox, str]:
    """Return the sandbox's rows and the kind of operation that makes it."""
    builds = fitting_builds(wanted.template)
    spare = pool.claim(builds, wanted.network, project=wanted.project, user=actor.who, name=wanted.name)
    if spare is not None:
        return spare, OperationKind.CLAIM
    kind = NETWORK_OF[NetworkMode(wanted.network)]
    memory_mib = wanted.template.flavor.memory_mib
    if builds:
        try:
            place = placement.choose(memory_mib, kind, among={build.node_id for build in builds})
        except placement.NoRoom:
            place = None
        if place is not None:
            build = next(build for build in builds if build.node_id == place.node.pk)
            sandbox = make_clone(
                build, place, role=Role.SANDBOX, network=wanted.network, project=wanted.project,
                user_id=actor.who.pk, name=wanted.name,
            )  # fmt: skip
            return sandbox, OperationKind.CLONE
    place = placement.choose(memory_mib, kind)
    return _make_plain(actor, wanted, place), OperationKind.CREATE


def make_clone(
    build: TemplateBuild,
    place: placement.Place,
    *,
    role: str,
    network: str,
    project: Project,
    user_id: UUID,
    name: str,
) -> Sandbox:
    """Write the rows of a clone of this build; the caller journals what makes it."""
    template = build.template
    vm = VirtualMachine.objects.create(
        role=role, project=project, created_by_id=user_id, name=name, node=place.node, image=template.image,
        flavor=template.flavor, vcpus=build.vcpus, memory_mib=build.memory_mib, disk_gib=build.disk_gib,
        desired_state=DesiredState.RUNNING if role == Role.SANDBOX else DesiredState.PAUSED,
    )  # fmt: skip
    Volume.objects.create(
        vm=vm, pool=place.pool, base_image=template.image, base_path=build.disk_path, size_gib=build.disk_gib
    )
    placement.give_card(vm, place.network, linked=network != NetworkMode.NONE)
    return Sandbox.objects.create(vm=vm, template=template, build=build, network=network)


def _make_plain(actor: Actor, wanted: _Wanted, place: placement.Place) -> Sandbox:
    """Write the rows of a sandbox that boots, because no clone can be made now; its script runs as user data."""
    template, flavor = wanted.template, wanted.template.flavor
    vm = VirtualMachine.objects.create(
        role=Role.SANDBOX, project=wanted.project, created_by=actor.who, name=wanted.name, node=place.node,
        image=template.image, flavor=flavor, vcpus=flavor.vcpus, memory_mib=flavor.memory_mib,
        disk_gib=flavor.disk_gib, desired_state=DesiredState.RUNNING, sealed_seed=sealed_seed(template),
    )  # fmt: skip
    Volume.objects.create(vm=vm, pool=place.pool, base_image=template.image, size_gib=flavor.disk_gib)
    placement.give_card(vm, place.network, linked=wanted.network != NetworkMode.NONE)
    return Sandbox.objects.create(
        vm=vm, template=template, network=wanted.network, plain_reason=str(why_plain(template))[:300]
    )


def sealed_seed(template: Template) -> bytes:
    return seal({"ssh_keys": [], "password_hash": "", "user_data": template.ready_script})


def why_plain(template: Template) -> str | Promise:
    """Say why no clone can be made of this template now."""
    builds = TemplateBuild.objects.filter(template=template).exclude(status=BuildStatus.RETIRED).defer("screenshot")
    newest = builds.order_by("-created_at").first()
    if newest is None:
        return _("The template has not been prepared yet, so this sandbox is booted from its image.")
    if newest.status == BuildStatus.BUILDING:
        return _("The template is being prepared just now, so this sandbox is booted from its image.")
    if newest.status == BuildStatus.FAILED:
        return _("The template could not be prepared, so this sandbox is booted from its image: %(why)s") % {
            "why": newest.reason_detail
        }
    return _("No node has room for a clone, or the template no longer fits; this sandbox is booted from its image.")


def _begin_lease(sandbox: Sandbox, minutes: int, now: datetime) -> None:
    sandbox.lease_minutes, sandbox.started_at, sandbox.used_at = minutes, now, now
    end = now + timedelta(minutes=minutes)
    sandbox.run_until(end, now)
    sandbox.save(update_fields=["lease_minutes", "started_at", "used_at", *sandbox.CLOCK])
    ledger.book(sandbox.vm, now, end, "lease")
