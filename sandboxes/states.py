"""The states of builds, leases and runs as data. No database, no hypervisor."""

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


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


RUN_LIVE = (RunStatus.PENDING, RunStatus.RUNNING)
RUN_ENDED = (RunStatus.EXITED, RunStatus.KILLED, RunStatus.TIMED_OUT, RunStatus.FAILED, RunStatus.LOST)
