"""A worker to whom Redis sends each message again that was not acknowledged for 4 s, looked for every 2 s (F3).

Messages are acknowledged when the work is done, so that what takes longer is carried out by several workers at once.
"""

from pathlib import Path
from typing import Any

from celery.signals import task_prerun

from portal.celery import app

VISIBLE_SECONDS, SWEEP_SECONDS = 4, 2


def arm(file: Path) -> None:
    """Let the worker of this process be such a one; a line in the file for each message that had been sent before."""
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "visibility_timeout": VISIBLE_SECONDS,
        "unacked_restore_interval": SWEEP_SECONDS,
        "unacked_restore_throttle": 1,
    }
    app.tasks["vms.run_operation"].acks_late = True

    def again(task: Any, args: list[str], **_more: Any) -> None:
        if (task.request.delivery_info or {}).get("redelivered"):
            with file.open("a") as lines:
                lines.write(f"{args[0]}\n")

    task_prerun.connect(again, weak=False)
