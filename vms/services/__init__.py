"""What people can ask for. Each `request_*` is one transaction: permission, lock, rule, rows, audit; bells after.

Nothing here reaches the hypervisor: an operation is journaled, and the machine's node carries it out.
"""

from .consoles import request_console
from .create import NewVm, request_create, request_create_again
from .edit import request_rename
from .nodes import request_cordon, request_uncordon
from .operations import request_cancel
from .power import (
    request_delete,
    request_force_off,
    request_pause,
    request_power,
    request_reboot,
    request_resize,
    request_resume,
    request_start,
    request_stop,
)

__all__ = [
    "NewVm",
    "request_cancel",
    "request_console",
    "request_cordon",
    "request_create",
    "request_create_again",
    "request_delete",
    "request_force_off",
    "request_pause",
    "request_power",
    "request_reboot",
    "request_rename",
    "request_resize",
    "request_resume",
    "request_start",
    "request_stop",
    "request_uncordon",
]
