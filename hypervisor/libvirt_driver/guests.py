"""What comes out of a guest: its agent's answers, its screen, its display. All of it is untrusted."""

import io
import json
from typing import Any
from uuid import UUID

import libvirt
import libvirt_qemu
from PIL import Image

from hypervisor.errors import AgentUnavailable, HypervisorError, NotSupported, WrongState
from hypervisor.specs import DomainState

from .domains import DomainVerbs
from .link import verb

MAX_ANSWER_CHARACTERS = 64 * 1024
MAX_SCREENSHOT_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_VISIBLE = (DomainState.RUNNING, DomainState.PAUSED, DomainState.CRASHED)


class GuestVerbs(DomainVerbs):
    """The guest and console methods of `hypervisor.api.Hypervisor`."""

    @verb
    def agent(self, uuid: UUID, command: str, arguments: dict[str, Any] | None = None, timeout_seconds: int = 5) -> Any:
        """What the guest agent returned, as JSON values; AgentUnavailable for no answer and for every bad one."""
        question: dict[str, Any] = {"execute": command}
        if arguments:
            question["arguments"] = arguments
        try:
            domain = self._in_state(uuid, DomainState.RUNNING)
        except WrongState as error:
            raise AgentUnavailable(error.detail) from error
        if self._is_mock:
            raise NotSupported("the mock driver has no guests")
        try:
            answer = libvirt_qemu.qemuAgentCommand(domain, json.dumps(question), timeout_seconds, 0)
        except libvirt.libvirtError as error:
            if error.get_error_code() in _DOMAIN_GONE or not self._conn.isAlive():
                raise
            raise AgentUnavailable(str(error)) from error
        return _parse_answer(answer)

    @verb
    def screenshot(self, uuid: UUID) -> bytes:
        """The display as a PNG; WrongState when it is off. A crashed domain still shows its last screen."""
        domain = self._in_state(uuid, *_VISIBLE)
        stream = self._conn.newStream(0)
        domain.screenshot(stream, 0, 0)
        return _png(_receive(stream, MAX_SCREENSHOT_BYTES))

    @verb
    def open_graphics(self, uuid: UUID) -> int:
        """A connected descriptor of the VNC display, without authentication: the caller has done that."""
        domain = self._in_state(uuid, *_VISIBLE)
        return int(domain.openGraphicsFD(0, libvirt.VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH))


_DOMAIN_GONE = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_RPC)


def _parse_answer(answer: str) -> Any:
    """The `return` of an agent's answer; AgentUnavailable when it is too long, no JSON, or has none."""
    if len(answer) > MAX_ANSWER_CHARACTERS:
        raise AgentUnavailable(f"an answer of {len(answer)} characters")
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise AgentUnavailable(f"not JSON: {error}") from error
    if not isinstance(parsed, dict) or "return" not in parsed:
        raise AgentUnavailable("no return value")
    return parsed["return"]


def _receive(stream: Any, limit: int) -> bytes:
    """All bytes of a libvirt stream; HypervisorError when there are more than `limit`."""
    data = bytearray()
    while True:
        chunk = stream.recv(_CHUNK_BYTES)
        if not chunk:
            stream.finish()
            return bytes(data)
        data += chunk
        if len(data) > limit:
            stream.abort()
            raise HypervisorError(f"more than {limit} bytes")


def _png(picture: bytes) -> bytes:
    """The picture as a small PNG, whichever of its two formats QEMU sent."""
    try:
        with Image.open(io.BytesIO(picture), formats=("PNG", "PPM")) as image:
            out = io.BytesIO()
            image.convert("RGB").save(out, "PNG", compress_level=6)
            return out.getvalue()
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise HypervisorError(f"no picture: {error}") from error
