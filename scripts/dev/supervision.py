"""What supervisord says about our processes, over its UNIX socket."""

import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

GIVEN_UP = {"FATAL", "EXITED", "UNKNOWN"}


@dataclass(frozen=True, slots=True)
class Process:
    """One supervised process; `started` is in seconds since 1970, `uptime_seconds` counts from there."""

    name: str
    state: str
    pid: int
    started: int
    uptime_seconds: int
    log: Path

    def last_lines(self, count: int = 6) -> list[str]:
        """Return the end of its log, without blank lines."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-count:]


def processes(socket: str) -> list[Process]:
    """Return all processes in the order that they start in; OSError when supervisord does not answer."""
    transport = SupervisorTransport(None, None, f"unix://{socket}")
    proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
    answer: Any = proxy.supervisor.getAllProcessInfo()
    return [
        Process(
            name=item["name"],
            state=item["statename"],
            pid=item["pid"],
            started=item["start"],
            uptime_seconds=item["now"] - item["start"] if item["statename"] == "RUNNING" else 0,
            log=Path(item["stdout_logfile"]),
        )
        for item in answer
    ]
