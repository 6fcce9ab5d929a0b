"""The states of builds, leases and runs as data. No database, no hypervisor."""

from typing import Any

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

from vms.states import OperationKind


class NetworkMode(TextChoices):
    """What a sandbox may reach."""

    NONE = "none", _("No network")
    ISOLATED = "isolated", _("Isolated: a card, and nothing else on the network")
    NAT = "nat", _("Out only: the Internet, but neither the host nor neighbours nor private addresses")


class BuildStatus(TextChoices):
    """How far a template is on one node."""

    BUILDING = "building", _("Being prepared")
    READY = "ready", _("Ready")
    FAILED = "failed", _("Failed")
    RETIRED = "retired", _("Replaced")  # kept while disks lie on it


class LeaseStatus(TextChoices):
    """What a sandbox's clock does."""

    RUNNING = "running", _("Running")
    PAUSED = "paused", _("Paused")  # by its owner, or because nobody used it: the clock stands still
    ENDED = "ended", _("Ended")  # paused to disk; it can be taken back until `grace_until`


class RunStatus(TextChoices):
    """A command in a guest. `exited` has an exit code; the others say why there is none."""

    PENDING = "pending", _("Waiting for the sandbox")
    RUNNING = "running", _("Running")
    EXITED = "exited", _("Finished")
    KILLED = "killed", _("Killed")
    TIMED_OUT = "timed_out", _("Took too long")
    FAILED = "failed", _("Could not be run")
    LOST = "lost", _("Its sandbox went away")


GOING_ON = (OperationKind.RESTORE, OperationKind.START, OperationKind.RESUME)  # what wakes a sandbox
RUN_LIVE = (RunStatus.PENDING, RunStatus.RUNNING)
NOT_KEPT: dict[str, Any] = {"stdin": None, "env": {}}  # of a run that has ended: secrets may be in there
RUN_ENDED = (RunStatus.EXITED, RunStatus.KILLED, RunStatus.TIMED_OUT, RunStatus.FAILED, RunStatus.LOST)


class RunProblem(TextChoices):
    """Why a run has no exit code: the codes whose sentence says all that there is to say, in the reader's language."""

    RESET = "reset", _("The sandbox was reset while this ran.")
    LEASE_ENDED = "lease_ended", _("The lease of the sandbox ended while this ran.")
    GUEST_STOPPED = "guest_stopped", _("The sandbox stopped while this ran.")
    NOT_STARTED = "not_started", _("The sandbox was not ready in time.")
    DELETED = "deleted", _("The machine was deleted while this ran.")
    MACHINE_OFF = "machine_off", _("The machine was switched off, or paused to disk, while this ran.")
    GUEST_LOST = "guest_lost", _("The guest does not answer, went away, or did not say how this ended.")
    GATEWAY_RESTARTED = (
        "gateway_restarted", _("The gateway restarted, and the guest does not know this run any more."),
    )  # fmt: skip
    INTERNAL = "internal", _("Something went wrong on our side.")


def why(code: str, detail: str) -> str:
    """Return the sentence for a code, in the reader's language; what was written with it where it has none."""
    return str(RunProblem(code).label) if code in RunProblem.values else detail
