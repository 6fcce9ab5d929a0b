"""Giving a clone its identity: over the channel of the listener in the guest, else through its agent."""

import base64
import secrets
import socket
import time
from typing import Any
from uuid import UUID

from hypervisor.domain_devices import IDENTITY_CHANNEL
from hypervisor.errors import AgentUnavailable, NotSupported
from hypervisor.identity import MAX_ANSWER_BYTES, NO_RESEED, OPTIONAL, check_identity, request, script
from hypervisor.specs import DomainState, Identity
from hypervisor.xml_text import from_text

from .cloning import CloneVerbs
from .link import verb

_LOOK_SECONDS = 1.0
_AGENT_SECONDS = 5
_POLL_SECONDS = 0.02


class IdentifyVerbs(CloneVerbs):
    """`identify` of `hypervisor.api.Hypervisor`."""

    @verb
    def identify(self, uuid: UUID, identity: Identity, timeout_seconds: float = 20) -> None:
        """Makes a running clone another machine than its template; safe to repeat.

        The guest has acknowledged all of it when this returns. AgentUnavailable when it does not in time, or refuses.
        """
        check_identity(identity)
        if self._is_mock:
            raise NotSupported("the mock driver has no guests")
        domain = self._in_state(uuid, DomainState.RUNNING)
        deadline = time.monotonic() + timeout_seconds
        path, _ = _channel(domain)
        if path and _tell_listener(domain, path, identity, deadline):
            return
        self._tell_agent(uuid, identity, deadline)

    def _tell_agent(self, uuid: UUID, identity: Identity, deadline: float) -> None:
        text = base64.b64encode(script(identity, uuid, time.time()).encode()).decode()
        arguments = {"path": "/bin/sh", "input-data": text, "capture-output": True}
        process = self._ask(uuid, "guest-exec", arguments, deadline)
        while True:
            answer = self._ask(uuid, "guest-exec-status", {"pid": process.get("pid")}, deadline)
            if answer.get("exited"):
                break
            time.sleep(_POLL_SECONDS)
        if answer.get("exitcode") == NO_RESEED:
            raise AgentUnavailable("the guest has neither Python nor Perl to start its random numbers anew")
        if answer.get("exitcode") != 0:
            raise AgentUnavailable(f"the identity was refused: {str(answer.get('err-data'))[:400]}")

    def _ask(self, uuid: UUID, command: str, arguments: dict[str, Any], deadline: float) -> dict[str, Any]:
        answer = self.agent(uuid, command, arguments, min(_AGENT_SECONDS, _seconds_left(deadline)))
        if not isinstance(answer, dict):
            raise AgentUnavailable(f"{command} was answered with no object")
        return answer


def _tell_listener(domain: Any, path: str, identity: Identity, deadline: float) -> bool:
    """Whether a listener took it; False when nobody listens in the guest."""
    word = secrets.token_hex(8)
    answer = bytearray()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_LOOK_SECONDS)
        try:
            connection.connect(path)
            connection.sendall(request(identity, UUID(domain.UUIDString()), time.time(), word))
            while f"end {word}\n".encode() not in answer:
                part = _receive(connection)
                if part == b"" or len(answer) > MAX_ANSWER_BYTES:
                    raise AgentUnavailable("the listener's channel was closed, or it says too much")
                if part is None and not _channel(domain)[1]:
                    return False
                _seconds_left(deadline)
                answer += part or b""
        except OSError as error:
            raise AgentUnavailable(str(error)) from error
    _check(answer)
    return True


def _receive(connection: socket.socket) -> bytes | None:
    """What came; None when nothing did for a while."""
    try:
        return connection.recv(4096)
    except TimeoutError:
        return None


def _check(answer: bytearray) -> None:
    for line in answer.decode("ascii", "replace").splitlines():
        key, _, reason = line.removeprefix("error ").partition(": ")
        if line.startswith("error ") and key not in OPTIONAL:
            raise AgentUnavailable(f"the guest could not take {key[:40]!r}: {reason[:200]!r}")


def _channel(domain: Any) -> tuple[str, bool]:
    """The socket of the listener's channel, and whether a program in the guest has it open, as far as libvirt knows."""
    for channel in from_text(domain.XMLDesc(0)).iterfind("devices/channel"):
        target, source = channel.find("target"), channel.find("source")
        if target is not None and source is not None and target.get("name") == IDENTITY_CHANNEL:
            return source.get("path", ""), target.get("state") == "connected"
    return "", False


def _seconds_left(deadline: float) -> int:
    left = deadline - time.monotonic()
    if left <= 0:
        raise AgentUnavailable("no answer in time")
    return max(1, int(left))
