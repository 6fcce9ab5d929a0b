"""Workers that are loaded already: each is forked off a process that has imported everything, and starts in a blink.

So hundreds of them can be killed in the time that an import of Django would take for ten. Started by
`installation.py`; a line of JSON in (a worker's words, the folder of its fatal plans or "", the file in which an
impatient one counts or ""), the number of its process out.
"""

import json
import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

import django

django.setup()

from portal.celery import app  # noqa: E402 - apps must be loaded first
from tests.faults import fatal, impatience  # noqa: E402
from vms import tasks  # noqa: E402
from vms.operations import runner  # noqa: E402

LOADED = (tasks, runner)


def main() -> None:
    app.finalize()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are killed
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.setsid()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(0)
            answers.close()
            words, plans, visible = json.loads(line)
            if visible:
                impatience.arm(Path(visible))
            if plans:
                fatal.arm(Path(plans))
            app.worker_main(words)
            os._exit(0)
        answers.write(f"{child}\n")


if __name__ == "__main__":
    main()
