"""Print how the installation is: each process, its node, the address; say in words what is wrong.

Usage: status.py SUPERVISOR_SOCKET HEALTHZ_URL. Exit 1 when something is wrong.
"""

import sys

from follow import readable
from supervision import Process, processes
from wait_ready import healthy


def age(seconds: int) -> str:
    """Return a time span in its largest unit: 42 s, 5 min, 3 h, 2 d."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def describe(process: Process) -> str:
    """Return one line on a process."""
    if process.state == "RUNNING":
        return f"  {process.name:<20} running, process {process.pid}, for {age(process.uptime_seconds)}"
    return f"  {process.name:<20} {process.state.lower()}"


def main() -> None:
    """Print the table."""
    supervisor, url = sys.argv[1:]
    try:
        now = processes(supervisor)
    except OSError as error:
        sys.exit(f"  supervisord does not answer ({error}): run ./dev down, then ./dev up.")
    wrong: list[str] = []
    for process in now:
        print(describe(process))
        if process.state != "RUNNING":
            _level, last = readable((process.last_lines(1) or ["(empty)"])[0])
            wrong.append(f"{process.name} does not run; its log ({process.log}) ends: {last}")
    if sick := healthy(url):
        wrong.append(sick)
    for sentence in wrong:
        print(f"  WRONG: {sentence}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
