"""The states of machines and operations as data, and the pure rules over them. No database, no libvirt.

Three facts with three writers (docs/architecture.md): `desired_state` is what people asked for, `observed_state`
is what the observer saw, an operation is work under way. What a person sees is computed from them here.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class DesiredState(TextChoices):
    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    DELETED = "deleted"


class ObservedState(TextChoices):
    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    CRASHED = "crashed"
    ABSENT = "absent"


class Status(TextChoices):
    """What a person sees."""

    ABSENT = "absent", _("Absent")
    CREATING = "creating", _("Creating")
    RUNNING = "running", _("Running")
    STOPPED = "stopped", _("Stopped")
    PAUSED = "paused", _("Paused")
    SUSPENDED = "suspended", _("Suspended")
    CRASHED = "crashed", _("Crashed")
    ERROR = "error", _("Error")
    DELETING = "deleting", _("Deleting")
    UNKNOWN = "unknown", _("Unknown")


class Role(TextChoices):
    """What a machine is for. Spares and builders are the system's: no person's list shows them."""

    MACHINE = "machine"
    SANDBOX = "sandbox"
    SPARE = "spare"  # a clone that waits to become somebody's sandbox
    BUILDER = "builder"  # boots a template that is then frozen


class NetworkKind(TextChoices):
    """What machines on it may reach. The card of a sandbox without a network is unplugged from an isolated one."""

    VMS = "vms"
    NAT = "nat"  # out only: neither the host nor neighbours nor private ranges
    ISOLATED = "isolated"


class OperationKind(TextChoices):
    CREATE = "create", _("Create")
    START = "start", _("Start")
    STOP = "stop", _("Stop")
    FORCE_OFF = "force_off", _("Force off")
    REBOOT = "reboot", _("Reboot")
    PAUSE = "pause", _("Pause")
    RESUME = "resume", _("Resume")
    RESIZE = "resize", _("Resize")
    DELETE = "delete", _("Delete")
    PREPARE = "prepare", _("Prepare")
    SPARE = "spare", _("Make a spare")
    CLONE = "clone", _("Clone")
    CLAIM = "claim", _("Hand out")
    RESET = "reset", _("Reset")
    SUSPEND = "suspend", _("Pause to disk")
    RESTORE = "restore", _("Continue from disk")


class OperationStatus(TextChoices):
    PENDING = "pending", _("Waiting")
    RUNNING = "running", _("Under way")
    SUCCEEDED = "succeeded", _("Done")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


LIVE = (OperationStatus.PENDING, OperationStatus.RUNNING)
ENDED = (OperationStatus.SUCCEEDED, OperationStatus.FAILED, OperationStatus.CANCELLED)
ACTIVE = (ObservedState.RUNNING, ObservedState.PAUSED)
HOLDS_MEMORY = (*ACTIVE, ObservedState.CRASHED)  # a panicked guest's QEMU stays until it is forced off or started anew
# kinds that make the domain of a machine: until they end, people see it being made
MAKING = frozenset(
    {
        OperationKind.CREATE,
        OperationKind.PREPARE,
        OperationKind.SPARE,
        OperationKind.CLONE,
        OperationKind.CLAIM,
        OperationKind.RESET,
    }
)

# from -> to; running -> pending is a lease that ran out or a step that asks for another attempt
OPERATION_TRANSITIONS: dict[str, frozenset[str]] = {
    OperationStatus.PENDING: frozenset({OperationStatus.RUNNING, OperationStatus.CANCELLED, OperationStatus.FAILED}),
    OperationStatus.RUNNING: frozenset(
        {
            OperationStatus.PENDING,
            OperationStatus.SUCCEEDED,
            OperationStatus.FAILED,
            OperationStatus.CANCELLED,
        }
    ),
    OperationStatus.SUCCEEDED: frozenset(),
    OperationStatus.FAILED: frozenset(),
    OperationStatus.CANCELLED: frozenset(),
}

# an operation of this kind ends live ones of those kinds and takes their place
PREEMPTS: dict[str, frozenset[str]] = {
    OperationKind.DELETE: frozenset(OperationKind.values) - {OperationKind.DELETE},
    OperationKind.FORCE_OFF: frozenset({OperationKind.STOP, OperationKind.REBOOT}),
    OperationKind.RESET: frozenset(
        {
            OperationKind.START,
            OperationKind.STOP,
            OperationKind.FORCE_OFF,
            OperationKind.REBOOT,
            OperationKind.PAUSE,
            OperationKind.RESUME,
            OperationKind.SUSPEND,
            OperationKind.RESTORE,
        }
    ),
}

# the observed states from which a kind may be asked for; delete may always
LEGAL_FROM: dict[str, frozenset[str]] = {
    OperationKind.CREATE: frozenset({ObservedState.ABSENT}),
    OperationKind.START: frozenset(
        {ObservedState.STOPPED, ObservedState.CRASHED, ObservedState.SUSPENDED, ObservedState.ABSENT}
    ),
    OperationKind.STOP: frozenset({ObservedState.RUNNING}),
    OperationKind.FORCE_OFF: frozenset({ObservedState.RUNNING, ObservedState.PAUSED, ObservedState.CRASHED}),
    OperationKind.REBOOT: frozenset({ObservedState.RUNNING}),
    OperationKind.PAUSE: frozenset({ObservedState.RUNNING}),
    OperationKind.RESUME: frozenset({ObservedState.PAUSED}),
    OperationKind.RESIZE: frozenset({ObservedState.STOPPED, ObservedState.CRASHED}),
    OperationKind.DELETE: frozenset(ObservedState.values),
    OperationKind.PREPARE: frozenset({ObservedState.ABSENT}),
    OperationKind.SPARE: frozenset({ObservedState.ABSENT}),
    OperationKind.CLONE: frozenset({ObservedState.ABSENT}),
    OperationKind.CLAIM: frozenset({ObservedState.PAUSED}),
    OperationKind.RESET: frozenset(ObservedState.values),
    OperationKind.SUSPEND: frozenset({ObservedState.RUNNING, ObservedState.PAUSED}),
    # running: a sandbox that is taken back before it could be paused at the end of its lease
    OperationKind.RESTORE: frozenset({ObservedState.SUSPENDED, ObservedState.RUNNING}),
}

# what people want once they asked for this; kinds that are missing leave it as it is
DESIRED_AFTER: dict[str, str] = {
    OperationKind.START: DesiredState.RUNNING,
    OperationKind.STOP: DesiredState.STOPPED,
    OperationKind.FORCE_OFF: DesiredState.STOPPED,
    OperationKind.PAUSE: DesiredState.PAUSED,
    OperationKind.RESUME: DesiredState.RUNNING,
    OperationKind.DELETE: DesiredState.DELETED,
    OperationKind.PREPARE: DesiredState.RUNNING,
    OperationKind.SPARE: DesiredState.PAUSED,
    OperationKind.CLONE: DesiredState.RUNNING,
    OperationKind.CLAIM: DesiredState.RUNNING,
    OperationKind.RESET: DesiredState.RUNNING,
    OperationKind.SUSPEND: DesiredState.STOPPED,
    OperationKind.RESTORE: DesiredState.RUNNING,
}

# a cancel is honoured only where stopping half-way leaves something sensible
CANCELLABLE: frozenset[str] = frozenset(
    {OperationKind.CREATE, OperationKind.START, OperationKind.STOP, OperationKind.REBOOT, OperationKind.PREPARE}
)

# how urgently a person should look, first things first; stored with the row so that lists page by it
ATTENTION: dict[str, int] = {
    Status.CRASHED: 0,
    Status.ERROR: 10,
    Status.ABSENT: 15,
    Status.UNKNOWN: 20,
    Status.CREATING: 30,
    Status.DELETING: 35,
    Status.RUNNING: 50,
    Status.PAUSED: 60,
    Status.SUSPENDED: 65,
    Status.STOPPED: 70,
}
ATTENTION_IN_PROGRESS = 40  # any status with a live operation that is not urgent by itself

# reasons under which a machine is in error although libvirt may know its domain
ERROR_REASONS = frozenset({"io_error", "storage_missing", "create_failed", "delete_failed"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What `display` needs to know about a machine; queries fill it from one joined row."""

    desired_state: str
    observed_state: str
    reason: str
    live_kind: str = ""
    node_synced_at: datetime | None = None


def is_away(synced_at: datetime | None, now: datetime, away_after: timedelta) -> bool:
    """A node is away when it has not compared its domains with the database for `away_after`."""
    return synced_at is None or now - synced_at > away_after


def display_status(facts: Facts, now: datetime, away_after: timedelta) -> tuple[str, str]:
    """Return (status, reason) as a person sees them; a stale observation is never shown as fresh."""
    if facts.desired_state == DesiredState.DELETED:
        return (Status.ERROR, facts.reason) if facts.reason == "delete_failed" else (Status.DELETING, "")
    if facts.live_kind in MAKING:
        return Status.CREATING, ""
    if is_away(facts.node_synced_at, now, away_after):
        return Status.UNKNOWN, "node_away"
    if facts.reason in ERROR_REASONS:
        return Status.ERROR, facts.reason
    return Status(facts.observed_state), facts.reason


def attention_rank(facts: Facts, now: datetime, away_after: timedelta) -> int:
    """Return the rank to store with the row: small is urgent."""
    status, _reason = display_status(facts, now, away_after)
    rank = ATTENTION[status]
    return min(rank, ATTENTION_IN_PROGRESS) if facts.live_kind else rank


def preempts(kind: str, live_kind: str) -> bool:
    """Does it end this one and take its place? A delete does so also to a kind that only a newer version knows."""
    if kind == OperationKind.DELETE:
        return live_kind != OperationKind.DELETE
    return live_kind in PREEMPTS.get(kind, frozenset())


def may_begin(kind: str, observed_state: str, live_kind: str) -> bool:
    """Is this verb legal now? True also where it pre-empts what is under way."""
    if live_kind and not preempts(kind, live_kind):
        return False
    return observed_state in LEGAL_FROM.get(kind, frozenset())
