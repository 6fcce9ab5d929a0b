"""What tests share: a portal that is a dictionary of answers, and what it answers with."""

import base64
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

URL, TOKEN = "https://portal.example", "slw_a-token-of-alice"
PROBLEM = {"content-type": "application/problem+json"}
Handler = Callable[..., Any]
RUN = {
    "id": "r-1",
    "status": "exited",
    "exit_code": 0,
    "signal": None,
    "error": None,
    "timeout_seconds": 3600,
    "stdout_bytes": 0,
    "stderr_bytes": 0,
    "stdout_truncated": False,
    "stderr_truncated": False,
}


def problem(status: int, code: str, detail: str, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "code": code, "detail": detail, **more}, headers=PROBLEM)


@dataclass
class Portal:
    """Answers by method and path; `asked` has every request, in order."""

    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)

    def on(self, method: str, path: str, answer: Any) -> None:
        """Give JSON, a response, an exception, or what a function of the request returns; a list: one for each call."""
        self.answers[method, path] = answer

    def items(self, path: str, *items: Any) -> None:
        self.on("GET", path, {"items": list(items), "next": None})

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        path = request.url.path.removeprefix("/api/v1/")
        answer = self.answers.get((request.method, path))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            return problem(404, "not_found", "There is no such thing, or you may not see it.")
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def bodies(self, method: str, path: str) -> list[Any]:
        return [json.loads(r.content) for r in self.asked if (r.method, r.url.path) == (method, f"/api/v1/{path}")]


@dataclass
class Answer:
    """How one command line went."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def operation(kind: str, status: str = "pending", **more: Any) -> dict[str, Any]:
    return {
        "id": f"00000000-0000-4000-8000-{abs(hash(kind)) % 10**12:012d}",
        "kind": kind,
        "status": status,
        "step": "",
        "progress": 0,
        "attempt": 1,
        "created_at": "2026-01-31T12:00:00.000Z",
        "finished_at": None,
        "error": None,
        "vm": {"id": None, "name": "web-1"},
        **more,
    }


def vm(name: str = "web-1", **more: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}{more.get('project', '')}")),
        "domain_uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        "name": name,
        "description": "",
        "status": "running",
        "status_reason": "",
        "vcpus": 1,
        "memory_mib": 256,
        "disk_gib": 2,
        "image": {"id": "i-1", "name": "micro"},
        "flavor": {"id": "f-1", "name": "nano"},
        "node": {"id": "n-1", "name": "node-1"},
        "project": {"id": "p-1", "name": "harbor"},
        "ip_addresses": ["10.71.0.2"],
        "operation": None,
        "load": None,
        "created_by": {"id": "u-1", "username": "alice"},
        "created_at": "2026-01-31T11:59:00.000Z",
        **more,
    }


def event(name: str, said: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(said)}\nid: 1-1\n\n".encode()


def output(data: bytes, offset: int = 0, stream: str = "stdout") -> bytes:
    return event("output", {"stream": stream, "offset": offset, "data": base64.b64encode(data).decode()})


def events(*pieces: bytes) -> httpx.Response:
    return httpx.Response(200, content=b"".join(pieces), headers={"content-type": "text/event-stream"})


END = event("end", {"status": "exited"})
