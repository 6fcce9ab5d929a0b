"""The invariants I1..I7 as questions to database, libvirt and storage. Nothing is changed here.

A machine with a live operation is between two truths, so the comparisons with libvirt leave it out: I3 looks
after the operation itself. Whoever wants certainty after a fault waits for the dust to settle and asks again.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Q
from django.db.models.functions import Now

from accounts.models import AuditEntry
from hypervisor.api import Hypervisor
from hypervisor.errors import NotFound
from hypervisor.specs import DomainFacts
from portal import quota_audit
from sandboxes.models import TemplateBuild
from sandboxes.states import BuildStatus
from vms.models import Node, Operation, VirtualMachine, Volume
from vms.observer import meaning, was_ever_there
from vms.states import LIVE, OperationKind, OperationStatus

LEASE_GRACE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken invariant, in words that name the thing."""

    code: str
    what: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)


@dataclass(slots=True)
class View:
    """What the checks look at, read once: this node's domains, files and rows."""

    node: Node | None
    hypervisor: Hypervisor
    domains: dict[str, DomainFacts]
    busy: set[str]

    @classmethod
    def take(cls, hypervisor: Hypervisor) -> "View":
        node = Node.objects.filter(name=settings.NODE_NAME).first()
        busy = {str(pk) for pk in Operation.objects.filter(status__in=LIVE).values_list("vm_id", flat=True)}
        domains = {str(facts.uuid): facts for facts in hypervisor.domains(settings.INSTALLATION_ID)}
        return cls(node, hypervisor, domains, busy)

    def rows(self) -> list[VirtualMachine]:
        """This node's machines without a live operation."""
        return [vm for vm in VirtualMachine.objects.filter(node=self.node) if str(vm.pk) not in self.busy]


def no_orphans(view: View) -> Iterator[str]:
    """Every object of ours has a row, and every row its objects."""
    known = {str(vm.domain_uuid): vm for vm in VirtualMachine.objects.filter(node=view.node)}
    for uuid, facts in view.domains.items():
        if uuid not in known:
            yield f"domain {facts.name} belongs to no machine"
    if view.node is not None:
        yield from _stray_files(view, view.node, known)
        yield from _stray_addresses(view, view.node)
        yield from _stray_builds(view, view.node)


def _stray_files(view: View, node: Node, known: dict[str, VirtualMachine]) -> Iterator[str]:
    for pool in node.pools.all():
        try:
            present = {volume.name for volume in view.hypervisor.volumes(pool.name)}
        except NotFound:
            yield f"pool {pool.name} is not known to libvirt"
            continue
        wanted = {volume.file_name: volume for volume in Volume.objects.filter(pool=pool).select_related("vm")}
        seeds = {f"{uuid}.iso" for uuid in known}
        for name in sorted(present - set(wanted) - seeds):
            yield f"file {name} in pool {pool.name} belongs to no machine"
        for name, volume in wanted.items():
            made = volume.vm.failure != "create_failed" and volume.vm.observed_reason != "storage_missing"
            if name not in present and made and str(volume.vm_id) not in view.busy:
                yield f"disk {name} of machine {volume.vm_id} is missing, and the machine does not say so"


def _stray_addresses(view: View, node: Node) -> Iterator[str]:
    for network in node.networks.all():
        cards = dict(network.nics.values_list("mac", "address"))
        try:
            given = view.hypervisor.addresses(network.name)
        except NotFound:
            yield f"network {network.name} is not known to libvirt"
            continue
        for mac, address in given.items():
            if cards.get(mac) != address:
                yield f"address {address} of {mac} on {network.name} belongs to no machine"
        try:
            admitted = view.hypervisor.admitted(network.name)
        except NotFound:
            yield f"network {network.name} has no guard"
            continue
        for mac, address in admitted.items():
            if cards.get(mac) != address:
                yield f"{mac} may send as {address} on {network.name} and belongs to no machine"


def _stray_builds(view: View, node: Node) -> Iterator[str]:
    """What was frozen has a row, and a template that clones are made of has its files."""
    builds = {str(build.pk): build for build in TemplateBuild.objects.filter(node=node).defer("screenshot")}
    root = Path(settings.DATA_DIR) / "templates"
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.name not in builds:
            yield f"folder templates/{folder.name} belongs to no template"
    for build in builds.values():
        there = build.status != BuildStatus.READY or view.hypervisor.frozen(PurePosixPath(root) / str(build.pk))
        if not there:
            yield f"build {build.pk} is said to be ready and has no files"


def usage_adds_up(view: View) -> Iterator[str]:
    """What quotas count is what is there, what leases reserve is booked, and limits stop growth."""
    return quota_audit.breaches()


def operations_end(view: View) -> Iterator[str]:
    """Nothing runs without a live lease, and nothing lives past its deadline."""
    expired = Q(lease_expires_at=None) | Q(lease_expires_at__lt=Now() - LEASE_GRACE)
    for operation in Operation.objects.filter(expired, status=OperationStatus.RUNNING):
        yield f"operation {operation.pk} ({operation.kind}) runs without a lease"
    for operation in Operation.objects.filter(status__in=LIVE, deadline_at__lt=Now() - 2 * LEASE_GRACE):
        yield f"operation {operation.pk} ({operation.kind}) lives past its deadline"
    for operation in Operation.objects.exclude(status__in=LIVE).filter(finished_at=None):
        yield f"operation {operation.pk} ({operation.kind}) has ended and does not say when"


def observed_is_true(view: View) -> Iterator[str]:
    """What we say was seen is what libvirt says now."""
    for vm in view.rows():
        was_there = was_ever_there(vm.observed_at, vm.observed_state, vm.observed_reason)
        missing = vm.observed_reason == "storage_missing"
        state, _reason = meaning(view.domains.get(str(vm.domain_uuid)), was_there, missing)
        if state != vm.observed_state and not _changed_meanwhile(view, vm):
            yield f"machine {vm.pk} is said to be {vm.observed_state}, and libvirt says {state}"


def _changed_meanwhile(view: View, vm: VirtualMachine) -> bool:
    """Read both again: an audit of a living system must not report what moved while it looked."""
    facts = view.hypervisor.domain(vm.domain_uuid)
    row = VirtualMachine.objects.filter(pk=vm.pk).first()
    busy = Operation.objects.filter(vm_id=vm.pk, status__in=LIVE).exists()
    return row is None or busy or meaning(facts, True)[0] == row.observed_state


def acknowledged_is_kept(view: View) -> Iterator[str]:
    """Every operation that was acknowledged, so audited in the same transaction, is in the journal."""
    promised = dict(AuditEntry.objects.filter(data__has_key="operation").values_list("data__operation", "action"))
    for operations, action in AuditEntry.objects.filter(data__has_key="operations").values_list(
        "data__operations", "action"
    ):
        promised |= dict.fromkeys(operations, action)  # one on each node
    kept = {str(pk) for pk in Operation.objects.values_list("pk", flat=True)}
    for operation, action in promised.items():
        if str(operation) not in kept:
            yield f"operation {operation} ({action}) was acknowledged and is not in the journal"


def deleted_is_gone(view: View) -> Iterator[str]:
    """A delete that succeeded left no row and no domain, and a row goes only by a delete that succeeded."""
    done = Operation.objects.filter(kind=OperationKind.DELETE, status=OperationStatus.SUCCEEDED)
    for vm in VirtualMachine.objects.filter(pk__in=done.values("vm_id")):
        yield f"machine {vm.pk} was deleted and still has a row"
    gone = set(done.values_list("vm_id", flat=True))
    known = set(VirtualMachine.objects.values_list("domain_uuid", flat=True))
    for facts in view.domains.values():
        if facts.owner and facts.owner.vm_id in gone and facts.uuid not in known:
            yield f"machine {facts.owner.vm_id} was deleted and domain {facts.name} is still there"
    there = VirtualMachine.objects.filter(pk=OuterRef("vm"))
    of_it = Operation.objects.filter(vm=OuterRef("vm"))
    deleted = of_it.filter(kind=OperationKind.DELETE, status=OperationStatus.SUCCEEDED)
    unfinished = of_it.filter(status__in=LIVE)  # a delete that has yet to say so
    lost = Operation.objects.filter(~Exists(there), ~Exists(deleted), ~Exists(unfinished)).order_by("vm", "created_at")
    for vm_id, name in dict(lost.values_list("vm", "vm_name")).items():
        yield f"machine {vm_id} ({name}) has no row, and no delete of it has succeeded"


def one_at_a_time(view: View) -> Iterator[str]:
    """At most one live operation per machine, and one domain per machine."""
    crowded = Operation.objects.filter(status__in=LIVE).values("vm_id").annotate(n=Count("id")).filter(Q(n__gt=1))
    for row in crowded:
        yield f"machine {row['vm_id']} has {row['n']} live operations"
    rows = dict(VirtualMachine.objects.values_list("domain_uuid", "pk"))  # a reset hands the old one to another row
    owners: dict[str, list[str]] = {}
    for facts in view.domains.values():
        if facts.owner:
            owners.setdefault(str(rows.get(facts.uuid, facts.owner.vm_id)), []).append(facts.name)
    for vm_id, names in owners.items():
        if len(names) > 1:
            yield f"machine {vm_id} has {len(names)} domains: {', '.join(sorted(names))}"


Check = Callable[[View], Iterator[str]]
INVARIANTS: dict[str, tuple[str, Check]] = {
    "I1": ("no orphans: everything of ours has a row, and every row its things", no_orphans),
    "I2": ("usage is the sum of what is there, leases are booked, limits stop growth", usage_adds_up),
    "I3": ("operations end, and none runs without a lease", operations_end),
    "I4": ("what was observed is what libvirt says", observed_is_true),
    "I5": ("no acknowledged operation is lost", acknowledged_is_kept),
    "I6": ("what was deleted is gone, and nothing went without a delete", deleted_is_gone),
    "I7": ("one operation and one domain per machine", one_at_a_time),
}


def evaluate(hypervisor: Hypervisor) -> list[Breach]:
    """Return every breach of I1..I7 that can be seen from this node."""
    view = View.take(hypervisor)
    return [Breach(code, what) for code, (_title, check) in INVARIANTS.items() for what in check(view)]
