"""What people can ask of templates and sandboxes. Each `request_*` is one transaction; bells after."""

from .isolation import request_isolation_check
from .lease import (
    request_delete,
    request_extend,
    request_keep,
    request_pause,
    request_restore,
    request_resume,
)
from .new import NewSandbox, request_sandbox
from .reset import request_reset
from .runs import NewRun, note_use, request_kill, request_run
from .templates import NewTemplate, request_pool, request_prepare, request_retire, request_template

__all__ = [
    "NewRun",
    "NewSandbox",
    "NewTemplate",
    "note_use",
    "request_delete",
    "request_extend",
    "request_isolation_check",
    "request_keep",
    "request_kill",
    "request_pause",
    "request_pool",
    "request_prepare",
    "request_reset",
    "request_restore",
    "request_resume",
    "request_retire",
    "request_run",
    "request_sandbox",
    "request_template",
]
