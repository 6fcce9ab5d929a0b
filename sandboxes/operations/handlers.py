"""Which function makes a step true, beside those of vms."""

from collections.abc import Callable

from vms import steps
from vms.operations.context import Context

from . import clone, prepare

HANDLERS: dict[str, Callable[[Context], None]] = {
    steps.BOOTED.name: prepare.ensure_booted,
    steps.READY.name: prepare.ensure_ready,
    steps.QUIET.name: prepare.ensure_quiet,
    steps.FROZEN.name: prepare.ensure_frozen,
    steps.OVERLAY.name: clone.ensure_overlay,
    steps.CLONED.name: clone.ensure_cloned,
    steps.NAMED.name: clone.ensure_named,
    steps.RESTED.name: clone.ensure_rested,
    steps.SAVED.name: clone.ensure_saved,
}
