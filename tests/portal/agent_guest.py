"""A fake hypervisor whose guests' agent does what it is asked, on this host and below one folder."""

import base64
import contextlib
import itertools
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from hypervisor.errors import AgentUnavailable
from hypervisor.fake import FakeHypervisor


class AgentGuests(FakeHypervisor):
    """`asked` are the commands that came; `silent` agents answer nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.silent = False
        self._files: dict[int, BinaryIO] = {}
        self._numbers = itertools.count(1)
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    def like(cls, other: FakeHypervisor) -> "AgentGuests":
        made = cls()
        made._host = other._host
        return made

    def agent(self, uuid: UUID, command: str, arguments: dict[str, Any] | None = None, timeout_seconds: int = 5) -> Any:
        self.asked.append(command)
        if self.silent:
            raise AgentUnavailable("it does not answer")
        try:
            return getattr(self, "_" + command.replace("-", "_"))(**arguments or {})
        except OSError as error:
            raise AgentUnavailable(str(error)) from error

    def end(self) -> None:
        """Kill all that was begun, as a machine that is switched off does."""
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        for child in self._children:
            child.wait(20)

    def _guest_ping(self) -> dict[str, Any]:
        return {}

    def _guest_exec(self, path: str, arg: list[str], env: list[str]) -> dict[str, int]:
        variables = dict(entry.split("=", 1) for entry in env)
        self._children.append(subprocess.Popen([path, *arg], env=variables, stderr=subprocess.DEVNULL, process_group=0))
        return {"pid": self._children[-1].pid}

    def _guest_file_open(self, path: str, mode: str) -> int:
        number = next(self._numbers)
        self._files[number] = Path(path).open(mode + "b", buffering=0)  # noqa: SIM115
        return number

    def _guest_file_read(self, handle: int, count: int) -> dict[str, Any]:
        data = self._files[handle].read(count)
        return {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": len(data) < count}

    def _guest_file_write(self, **asked: Any) -> dict[str, Any]:
        return {"count": self._files[asked["handle"]].write(base64.b64decode(asked["buf-b64"]))}

    def _guest_file_seek(self, handle: int, offset: int, whence: int) -> dict[str, Any]:
        return {"position": self._files[handle].seek(offset, whence)}

    def _guest_file_close(self, handle: int) -> dict[str, Any]:
        self._files.pop(handle).close()
        return {}
