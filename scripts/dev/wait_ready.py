"""Wait until the portal answers: every process up, /healthz 200, the gateway listening.

Usage: wait_ready.py SUPERVISOR_SOCKET HEALTHZ_URL GATEWAY_HOST:PORT. Exit 1 with the reason after 90 s, or as
soon as a process keeps dying.
"""

import http.client
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

from supervision import GIVEN_UP, Process, processes

DEADLINE_SECONDS = 90
RESTARTS_THAT_ARE_TOO_MANY = 4


def healthy(url: str) -> str:
    """Return "" when /healthz says 200, else what it said."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        body = answer.read(500).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"the portal does not answer yet ({error})"
    finally:
        connection.close()
    return "" if answer.status == http.client.OK else f"{url} says {answer.status}: {body}"


def listening(address: str) -> str:
    """Return "" when something accepts connections at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        return f"the gateway does not listen yet ({error})"
    return ""


def dying(now: list[Process], starts: dict[str, set[int]]) -> Process | None:
    """Return a process that was given up or starts again and again."""
    for process in now:
        starts.setdefault(process.name, set()).add(process.started)
        if process.state in GIVEN_UP or len(starts[process.name]) >= RESTARTS_THAT_ARE_TOO_MANY:
            return process
    return None


def waiting_for(supervisor: str, url: str, gateway: str, starts: dict[str, set[int]]) -> str:
    """Return "" when all is up, else what is still missing; SystemExit when it will not come."""
    try:
        now = processes(supervisor)
    except OSError as error:
        return f"supervisord does not answer yet ({error})"
    if failed := dying(now, starts):
        lines = "\n".join(failed.last_lines())
        sys.exit(f"{lines}\n{failed.name} does not stay up; its log is {failed.log}")
    late = [process.name for process in now if process.state != "RUNNING"]
    return f"still starting: {', '.join(late)}" if late else healthy(url) or listening(gateway)


def main() -> None:
    """Poll until everything is there."""
    supervisor, url, gateway = sys.argv[1:]
    deadline = time.monotonic() + DEADLINE_SECONDS
    starts: dict[str, set[int]] = {}
    pause = threading.Event()
    while missing := waiting_for(supervisor, url, gateway, starts):
        if time.monotonic() > deadline:
            sys.exit(f"After {DEADLINE_SECONDS} s: {missing}")
        pause.wait(0.1)


if __name__ == "__main__":
    main()
