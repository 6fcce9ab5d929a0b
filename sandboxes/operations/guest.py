"""Commands through the guest agent, for the worker's own use: short ones, whose output is capped."""

import base64
import binascii
from typing import Any

from django.utils.translation import gettext as _

from hypervisor.errors import AgentUnavailable
from vms.operations.context import Context, StepFailed

OUTPUT_TAIL_BYTES = 4000
CHUNK_BYTES = 24 * 1024
AGENT_SECONDS = 5  # for each answer; what takes longer is begun, and asked after


def execute(ctx: Context, script: str, timeout_seconds: float) -> tuple[int, str]:
    """Run a shell script as root in the guest; return (exit code, the end of what it said).

    AgentUnavailable where the guest does not answer, StepFailed where the script does not end in time.
    """
    pid = _answer(ctx, "guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True}).get("pid")
    found: dict[str, Any] = {}

    def ended() -> bool:
        nonlocal found
        found = _answer(ctx, "guest-exec-status", pid=pid)
        return found.get("exited") is True

    if not ctx.wait_until(ended, timeout_seconds):
        raise StepFailed(
            "guest_timeout", _("A script in the guest did not end in %(n)s s.") % {"n": int(timeout_seconds)}
        )
    code = found.get("exitcode")
    return code if isinstance(code, int) else 128 + int(found.get("signal") or 0), _text(found.get("out-data"))


def put(ctx: Context, path: str, content: bytes) -> None:
    """Write a file in the guest. AgentUnavailable."""
    handle = _value(ctx, "guest-file-open", path=path, mode="w")
    for start in range(0, len(content), CHUNK_BYTES):
        chunk = base64.b64encode(content[start : start + CHUNK_BYTES]).decode()
        ctx.guard()
        _value(ctx, "guest-file-write", **{"handle": handle, "buf-b64": chunk})
    _value(ctx, "guest-file-close", handle=handle)


def _value(ctx: Context, command: str, **arguments: Any) -> Any:
    return ctx.hypervisor.agent(ctx.vm.domain_uuid, command, arguments, AGENT_SECONDS)


def _answer(ctx: Context, command: str, **arguments: Any) -> dict[str, Any]:
    answer = _value(ctx, command, **arguments)
    if not isinstance(answer, dict):
        raise AgentUnavailable(f"{command} was answered with no object")
    return answer


def _text(encoded: Any) -> str:
    """Return the end of what was said as text that a database takes."""
    if not isinstance(encoded, str):
        return ""
    try:
        raw = base64.b64decode(encoded)
    except (binascii.Error, ValueError):
        return ""
    return raw[-OUTPUT_TAIL_BYTES:].decode("utf-8", "replace").replace("\x00", "")
