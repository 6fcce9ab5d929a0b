"""Which function makes a step true: here, and in the tables that settings.OPERATION_HANDLERS names.

A unit test holds them against `vms.steps`.
"""

from collections.abc import Callable

from django.conf import settings
from django.utils.module_loading import import_string

from .. import steps
from . import create, delete, power, resize
from .context import Context

Handler = Callable[[Context], None]

HANDLERS: dict[str, Handler] = {
    steps.ADDRESS.name: create.ensure_address,
    steps.DISK.name: create.ensure_disk,
    steps.SEED.name: create.ensure_seed,
    steps.DOMAIN.name: create.ensure_domain,
    steps.RUNNING.name: create.ensure_running,
    steps.AGENT.name: create.ensure_agent,
    steps.ASK_STOP.name: power.ask_stop,
    steps.STOPPED.name: power.ensure_stopped,
    steps.FORCED_OFF.name: power.ensure_forced_off,
    steps.ASK_REBOOT.name: power.ask_reboot,
    steps.REBOOTED.name: power.ensure_rebooted,
    steps.PAUSED.name: power.ensure_paused,
    steps.RESUMED.name: power.ensure_resumed,
    steps.GROWN.name: resize.ensure_grown,
    steps.REDEFINED.name: resize.ensure_redefined,
    steps.UNDEFINED.name: delete.ensure_undefined,
    steps.NO_DISKS.name: delete.ensure_no_disks,
    steps.NO_ADDRESS.name: delete.ensure_no_address,
    steps.GONE.name: delete.ensure_gone,
}
for _table in settings.OPERATION_HANDLERS:
    HANDLERS |= import_string(_table)
