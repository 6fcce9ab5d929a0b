"""Back to the clean state: the machine stays, with its address, and gets another domain.

The old domain and its disk move to a row of their own, whose deletion runs behind the reset: nobody waits for it.
"""

from datetime import timedelta
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.access import Verb
from accounts.actor import Actor
from accounts.refusals import InvalidState, OperationInProgress
from accounts.retrying import retried
from accounts.system import system_project, system_user
from vms import quotas
from vms.models import Operation, VirtualMachine, Volume
from vms.services.begin import begin, in_progress
from vms.states import LIVE, PREEMPTS, DesiredState, ObservedState, OperationKind, Role

from .. import running
from ..models import Sandbox
from ..queries import fitting_builds, get_sandbox_for
from ..states import LeaseStatus
from .lease import begin_delete
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
    if vm.desired_state != DesiredState.RUNNING and vm.observed_state not in ("running", "paused"):
        quotas.require(vm.project, vm.created_by, quotas.needs_running(vm.vcpus, vm.memory_mib), exclude=vm.pk)
    old_domain = vm.domain_uuid
    build = next(iter(fitting_builds(sandbox.template, [vm.node_id])), None)
    holder = _move_old_domain(vm)
    base_path = build.disk_path if build else ""
    [old] = Volume.objects.filter(vm=holder)
    Volume.objects.create(
        vm=vm, pool=old.pool, base_image=sandbox.template.image, base_path=base_path, size_gib=old.size_gib
    )
    sandbox.build, sandbox.named_at, sandbox.used_at = build, None, timezone.now()
    sandbox.plain_reason = "" if build else str(why_plain(sandbox.template))[:300]
    sandbox.save(update_fields=["build", "named_at", "used_at", "plain_reason"])
    if build is None:
        VirtualMachine.objects.filter(pk=vm.pk).update(sealed_seed=sealed_seed(sandbox.template))
    running.lose(vm, "reset", str(running.lost_by_reset()))
    kind = OperationKind.RESET if build else OperationKind.CREATE
    deletion = begin_delete(Actor.system(), holder)
    Operation.objects.filter(pk=deletion.pk).update(not_before=Now() + BEHIND)
    operation = begin(actor, vm, kind, old_domain=str(old_domain), deletion=str(deletion.pk), start=True)
    return sandbox, operation


def _check(sandbox: Sandbox) -> None:
    if sandbox.vm.desired_state == DesiredState.DELETED:
        raise InvalidState(_("This sandbox is being deleted."))
    if sandbox.lease_status == LeaseStatus.ENDED:
        raise InvalidState(_("This lease has ended. Take the sandbox back first."), code="lease_ended")
    if sandbox.lease_status == LeaseStatus.PAUSED:
        raise InvalidState(_("This sandbox is paused. Let it go on first."))
    live = Operation.objects.filter(vm=sandbox.vm, status__in=LIVE).first()
    if live is not None and live.kind not in PREEMPTS[OperationKind.RESET]:
        raise in_progress(live)
    if live is not None and not fitting_builds(sandbox.template, [sandbox.vm.node_id]):
        raise OperationInProgress(_("This sandbox is busy. Wait for it, then reset it."), operation=str(live.pk))


def _move_old_domain(vm: VirtualMachine) -> VirtualMachine:
    """Give the domain and disks of a machine to a row of the system's, and the machine a domain that is not yet.

    The machine's card stays with it. The observation that was made is of the old domain, so it goes with that one.
    """
    project = system_project()
    old, new = vm.domain_uuid, uuid4()
    seen = {"observed_state": vm.observed_state, "observed_reason": vm.observed_reason, "observed_at": vm.observed_at}
    unseen = {"observed_state": ObservedState.ABSENT, "observed_reason": "", "observed_at": None, "started_at": None}
    VirtualMachine.objects.filter(pk=vm.pk).update(domain_uuid=new, **unseen)
    holder = VirtualMachine.objects.create(
        role=Role.SPARE, project=project, created_by=system_user(project), name=f"old-{old.hex[:12]}", node=vm.node,
        image=vm.image, flavor=vm.flavor, vcpus=vm.vcpus, memory_mib=vm.memory_mib, disk_gib=vm.disk_gib,
        domain_uuid=old, desired_state=DesiredState.STOPPED, **seen,
    )  # fmt: skip
    Volume.objects.filter(vm=vm).update(vm=holder)
    vm.domain_uuid = new
    for name, value in unseen.items():
        setattr(vm, name, value)
    return holder
