"""The names and order of each operation's steps: pure data for pages and runner alike.

A label says what will be true when the step is done. A handler of the same name stands in `vms/operations/`.
A row keeps the name of its step, so a name is never reused for something else (an older worker may hold it).
"""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from .states import OperationKind


@dataclass(frozen=True, slots=True)
class Step:
    """`doing` is shown while it runs, `done` when it is."""

    name: str
    doing: str | Promise
    done: str | Promise


ADDRESS = Step("address", _("Reserving an address"), _("Address reserved"))
DISK = Step("disk", _("Preparing the disk"), _("Disk prepared"))
SEED = Step("seed", _("Writing name, keys and user data"), _("Name, keys and user data written"))
DOMAIN = Step("domain", _("Defining the machine"), _("Machine defined"))
RUNNING = Step("running", _("Starting"), _("Started"))
AGENT = Step("agent", _("Waiting for the guest"), _("Guest answers"))
ASK_STOP = Step("ask_stop", _("Asking the guest to shut down"), _("Guest asked to shut down"))
STOPPED = Step("stopped", _("Waiting for the guest to shut down"), _("Off"))
FORCED_OFF = Step("forced_off", _("Switching off"), _("Off"))
ASK_REBOOT = Step("ask_reboot", _("Asking the guest to reboot"), _("Guest asked to reboot"))
REBOOTED = Step("rebooted", _("Waiting for the guest to come back"), _("Guest is back"))
PAUSED = Step("paused", _("Pausing"), _("Paused"))
RESUMED = Step("resumed", _("Resuming"), _("Running"))
GROWN = Step("grown", _("Growing the disk"), _("Disk has its size"))
REDEFINED = Step("redefined", _("Changing processors and memory"), _("Processors and memory changed"))
UNDEFINED = Step("undefined", _("Removing the machine"), _("Machine removed"))
NO_DISKS = Step("no_disks", _("Removing disks"), _("Disks removed"))
NO_ADDRESS = Step("no_address", _("Releasing the address"), _("Address released"))
GONE = Step("gone", _("Checking that nothing is left"), _("Nothing is left"))
BOOTED = Step("booted", _("Waiting for the guest"), _("Guest answers"))
READY = Step("ready", _("Running the ready script"), _("Ready script done"))
QUIET = Step("quiet", _("Bringing the guest to rest"), _("Guest is at rest"))
FROZEN = Step("frozen", _("Freezing memory and disk"), _("Memory and disk frozen"))
OVERLAY = Step("overlay", _("Preparing its disk"), _("Disk prepared"))
CLONED = Step("cloned", _("Cloning"), _("Cloned"))
NAMED = Step("named", _("Giving it its own identity"), _("It has its own identity"))
RESTED = Step("rested", _("Laying it to rest"), _("Waiting to be used"))
SAVED = Step("saved", _("Writing its memory to disk"), _("Memory written to disk"))

STEPS: dict[str, tuple[Step, ...]] = {
    OperationKind.CREATE: (ADDRESS, DISK, SEED, DOMAIN, RUNNING, AGENT),
    OperationKind.START: (ADDRESS, DOMAIN, RUNNING),
    OperationKind.STOP: (ASK_STOP, STOPPED),
    OperationKind.FORCE_OFF: (FORCED_OFF,),
    OperationKind.REBOOT: (ASK_REBOOT, REBOOTED),
    OperationKind.PAUSE: (PAUSED,),
    OperationKind.RESUME: (RESUMED,),
    OperationKind.RESIZE: (GROWN, REDEFINED),
    OperationKind.DELETE: (FORCED_OFF, UNDEFINED, NO_DISKS, NO_ADDRESS, GONE),
    OperationKind.PREPARE: (ADDRESS, DISK, SEED, DOMAIN, RUNNING, BOOTED, READY, QUIET, FROZEN),
    OperationKind.SPARE: (ADDRESS, OVERLAY, CLONED, NAMED, RESTED),
    OperationKind.CLONE: (ADDRESS, OVERLAY, CLONED, NAMED),
    OperationKind.CLAIM: (NAMED,),
    OperationKind.RESET: (ADDRESS, OVERLAY, CLONED, NAMED),
    OperationKind.SUSPEND: (SAVED,),
    OperationKind.RESTORE: (RUNNING, NAMED),
}

# how long an operation may take from its first claim to its end, in seconds, whatever happens
DEADLINE_SECONDS: dict[str, int] = {
    OperationKind.CREATE: 900,
    OperationKind.START: 300,
    OperationKind.STOP: 300,
    OperationKind.FORCE_OFF: 120,
    OperationKind.REBOOT: 600,
    OperationKind.PAUSE: 60,
    OperationKind.RESUME: 60,
    OperationKind.RESIZE: 300,
    OperationKind.DELETE: 600,
    OperationKind.PREPARE: 1800,
    OperationKind.SPARE: 300,
    OperationKind.CLONE: 300,
    OperationKind.CLAIM: 120,
    OperationKind.RESET: 300,
    OperationKind.SUSPEND: 300,
    OperationKind.RESTORE: 300,
}


def steps_of(kind: str, starts: bool = True) -> tuple[Step, ...]:
    """Return the steps of a kind; a create that leaves the machine off ends before `running`."""
    steps = STEPS[kind]
    if kind == OperationKind.CREATE and not starts:
        return tuple(step for step in steps if step not in (RUNNING, AGENT))
    return steps


def progress_of(kind: str, step_name: str, starts: bool = True) -> int:
    """Return the share of steps before `step_name`, in per cent."""
    steps = steps_of(kind, starts)
    names = [step.name for step in steps]
    return 100 * names.index(step_name) // len(steps) if step_name in names else 0
