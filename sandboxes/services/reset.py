"""Back to the clean state: the machine stays, with its address, and gets another domain.

That is a waiting clone's, where one waits, else one that is made now. Old and new change places between two rows; the
row with the old domain and its disk is the system's, and its deletion runs behind the reset: nobody waits for it.
"""

from datetime import timedelta
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts import clock
from accounts.access import Verb
from accounts.actor import Actor
from accounts.refusals import InvalidState, OperationInProgress
from accounts.retrying import retried
from accounts.system import system_project, system_user
from vms import placement, quotas
from vms.models import Nic, Operation, Sample, VirtualMachine, Volume
from vms.services.begin import begin, in_progress
from vms.states import HOLDS_MEMORY, LIVE, PREEMPTS, DesiredState, OperationKind, OperationStatus, Role

from .. import pool, running
from ..models import Sandbox, TemplateBuild
from ..queries import fitting_builds, get_sandbox_for
from ..states import GOING_ON, LeaseStatus
from .lease import begin_delete, require_minutes, start_clock
from .new import sealed_seed, why_plain

BEHIND = timedelta(seconds=5)  # that a deletion waits for its reset to end first: a QEMU that goes costs a second


@retried
@transaction.atomic
def request_reset(actor: Actor, vm_id: UUID | str) -> tuple[Sandbox, Operation]:
    """Put a sandbox back to its clean state. InvalidState, OperationInProgress, QuotaExceeded."""
    seen = get_sandbox_for(actor.who, vm_id, Verb.CHANGE)
    quotas.lock(seen.vm.project)
    sandbox = get_sandbox_for(actor.who, vm_id, Verb.CHANGE, lock=True)
    _check(sandbox)
    vm = sandbox.vm
    if vm.desired_state != DesiredState.RUNNING and vm.observed_state not in HOLDS_MEMORY:
        quotas.require(vm.project, vm.created_by, quotas.needs_running(vm.vcpus, vm.memory_mib), exclude=vm.pk)
    if sandbox.lease_status == LeaseStatus.PAUSED and sandbox.remaining_seconds is not None:
        require_minutes(sandbox, sandbox.remaining_seconds)
        start_clock(sandbox, "reset")
    old_domain = vm.domain_uuid
    builds = fitting_builds(sandbox.template, [vm.node_id])
    spare = pool.take_for_exchange(builds, sandbox) if builds else None
    build = spare.build if spare else next(iter(builds), None)
    other = spare.vm if spare else _new_row(sandbox, build)
    _exchange(vm, other)
    sandbox.build, sandbox.named_at, sandbox.used_at = build, None, clock.now()
    sandbox.plain_reason = "" if build else str(why_plain(sandbox.template))[:300]
    sandbox.save(update_fields=["build", "named_at", "used_at", "plain_reason"])
    if build is None:
        VirtualMachine.objects.filter(pk=vm.pk).update(sealed_seed=sealed_seed(sandbox.template))
    running.lose(vm, "reset", str(running.lost_by_reset()))
    kind = OperationKind.RESET if build else OperationKind.CREATE
    VirtualMachine.objects.filter(pk=vm.pk).update(desired_state=DesiredState.RUNNING)  # a create leaves it as it is
    deletion = begin_delete(Actor.system(), other)
    Operation.objects.filter(pk=deletion.pk).update(not_before=Now() + BEHIND)
    operation = begin(
        actor, vm, kind, old_domain=str(old_domain), deletion=str(deletion.pk), exchanged=spare is not None, start=True
    )
    return sandbox, operation


def _cannot_go_on(vm: VirtualMachine) -> bool:
    """Was it to go on and did not? Then a reset is the way out, and its clock goes on with it."""
    last = Operation.objects.filter(vm=vm).order_by("-created_at").first()
    return last is not None and last.status == OperationStatus.FAILED and last.kind in GOING_ON


def _check(sandbox: Sandbox) -> None:
    if sandbox.vm.desired_state == DesiredState.DELETED:
        raise InvalidState(_("This sandbox is being deleted."))
    if sandbox.lease_status == LeaseStatus.ENDED:
        raise InvalidState(_("This lease has ended. Take the sandbox back first."), code="lease_ended")
    if sandbox.lease_status == LeaseStatus.PAUSED and not _cannot_go_on(sandbox.vm):
        raise InvalidState(_("This sandbox is paused. Let it go on first."))
    live = Operation.objects.filter(vm=sandbox.vm, status__in=LIVE).first()
    if live is not None and live.kind not in PREEMPTS[OperationKind.RESET]:
        raise in_progress(live)
    if live is not None and not fitting_builds(sandbox.template, [sandbox.vm.node_id]):
        raise OperationInProgress(_("This sandbox is busy. Wait for it, then reset it."), operation=str(live.pk))


def _new_row(sandbox: Sandbox, build: TemplateBuild | None) -> VirtualMachine:
    """Write a row of the system's with all that a clean machine needs: a disk, a card, the UUID of a domain to be."""
    vm, project = sandbox.vm, system_project()
    [old] = vm.volumes.all()
    [card] = vm.nics.select_related("network")
    row = VirtualMachine.objects.create(
        role=Role.SPARE, project=project, created_by=system_user(project), name=f"old-{vm.domain_uuid.hex[:12]}",
        node=vm.node, image=vm.image, flavor=vm.flavor, vcpus=vm.vcpus, memory_mib=vm.memory_mib,
        disk_gib=vm.disk_gib, desired_state=DesiredState.STOPPED,
    )  # fmt: skip
    base_path = build.disk_path if build else ""
    Volume.objects.create(
        vm=row, pool=old.pool, base_image=sandbox.template.image, base_path=base_path, size_gib=old.size_gib
    )
    placement.give_card(row, card.network, linked=card.linked)
    return row


def _exchange(vm: VirtualMachine, other: VirtualMachine) -> None:
    """Let two machines of one size change domain, disk and MAC, with what was observed of the domain.

    Each keeps its address: what is observed to send from it under the old MAC is not let through any more once the new
    one is (vms.operations.create.ensure_address). Whatever is unique steps aside for a moment.
    """
    fields = ("domain_uuid", "observed_state", "observed_reason", "observed_at", "started_at")
    mine, others = ({name: getattr(row, name) for name in fields} for row in (vm, other))
    VirtualMachine.objects.filter(pk=other.pk).update(domain_uuid=uuid4())
    VirtualMachine.objects.filter(pk=vm.pk).update(**others)
    VirtualMachine.objects.filter(pk=other.pk).update(**mine)
    [disk], [others_disk] = vm.volumes.all(), other.volumes.all()
    Volume.objects.filter(pk=disk.pk).update(vm=other, disk_index=disk.disk_index + 1)
    Volume.objects.filter(pk=others_disk.pk).update(vm=vm)
    Volume.objects.filter(pk=disk.pk).update(disk_index=disk.disk_index)
    [card], [others_card] = vm.nics.all(), other.nics.all()
    Nic.objects.filter(pk=others_card.pk).update(mac=others_card.pk.hex[:17])
    Nic.objects.filter(pk=card.pk).update(mac=others_card.mac)
    Nic.objects.filter(pk=others_card.pk).update(mac=card.mac)
    Sample.objects.filter(vm__in=[vm.pk, other.pk]).delete()  # counted by the domain that each had
    for row in (vm, other):
        row.refresh_from_db(fields=fields)
