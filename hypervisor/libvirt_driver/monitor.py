"""QEMU's own monitor, for what libvirt 9.0 has no call for: device state without the RAM, from and to a plain file.

`x-ignore-shared` leaves the RAM out of the stream, because it is in the file already. It has to be switched off again
in a clone, or what is saved of it later lacks its RAM. Source: QEMU's qapi/migration.json (7.2).
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import libvirt_qemu

from hypervisor.errors import HypervisorError, NoSpace

_FD_NAME = "slipway-state"
_POLL_SECONDS = 0.002


def ask(domain: Any, command: str, **arguments: Any) -> Any:
    """What QEMU returned; HypervisorError when it refused."""
    return _returned(command, libvirt_qemu.qemuMonitorCommand(domain, _request(command, arguments), 0))


def save_state(domain: Any, path: Path, timeout_seconds: float) -> None:
    """Writes the device state of a paused domain into a file. Its RAM is complete in its own file then."""
    _leave_ram_out(domain, True)
    with path.open("wb") as file:
        _pass_file(domain, file.fileno())
        ask(domain, "migrate", uri=f"fd:{_FD_NAME}")
        _wait(domain, timeout_seconds)


def is_saved(domain: Any) -> bool:
    """Whether the device state was written: QEMU says so from then on."""
    return bool(ask(domain, "query-migrate").get("status") == "completed")


def load_state(domain: Any, path: Path, timeout_seconds: float) -> None:
    """Reads the device state into a domain that was made to wait for it."""
    _leave_ram_out(domain, True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _pass_file(domain, descriptor)
    finally:
        os.close(descriptor)
    ask(domain, "migrate-incoming", uri=f"fd:{_FD_NAME}")
    _wait(domain, timeout_seconds)
    _leave_ram_out(domain, False)


def unplug(domain: Any, card: str) -> None:
    """Takes the link of a card down: the state that was loaded says that it is up."""
    ask(domain, "set_link", name=card, up=False)


def _leave_ram_out(domain: Any, state: bool) -> None:
    ask(domain, "migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": state}])


def _pass_file(domain: Any, descriptor: int) -> None:
    request = _request("getfd", {"fdname": _FD_NAME})
    answer = libvirt_qemu.qemuMonitorCommandWithFiles(domain, request, [descriptor], 0)
    _returned("getfd", answer[0] if isinstance(answer, tuple | list) else answer)


def _wait(domain: Any, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = ask(domain, "query-migrate")
        status = answer.get("status")
        if status == "completed":
            return
        if status in {"failed", "cancelled"} or time.monotonic() > deadline:
            raise _failure(f"device state: {status} {answer.get('error-desc', '')}")
        time.sleep(_POLL_SECONDS)


def _request(command: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"execute": command, "arguments": arguments} if arguments else {"execute": command})


def _returned(command: str, answer: str) -> Any:
    parsed = json.loads(answer)
    if "error" in parsed:
        raise _failure(f"{command}: {parsed['error'].get('desc', '')}")
    return parsed.get("return", {})


def _failure(detail: str) -> HypervisorError:
    return NoSpace(detail) if "No space left" in detail else HypervisorError(detail)
