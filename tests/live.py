"""The running portal that system and end-to-end tests drive: real processes, real libvirt, nothing of it faked.

`./dev test` starts it (an installation of its own under var/e2e) and names it in the environment; a plain pytest run
without it starts it by `./dev e2e-portal` and leaves it running for the next one.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import httpx

ROOT = Path(__file__).parent.parent
ENDED = ("succeeded", "failed", "cancelled")


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the first true answer of `condition()`; AssertionError with `what` after the deadline."""
    deadline = time.monotonic() + seconds
    pause = 0.05
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"after {seconds} s: {what}"
        time.sleep(pause)
        pause = min(pause * 1.3, 0.5)
    return answer


@dataclass
class Live:
    """One running installation: its address, its people, and where its things are on this host."""

    url: str
    var: Path

    @property
    def installation_id(self) -> str:
        return (self.var / "installation_id").read_text().strip()

    @property
    def data(self) -> Path:
        return Path("/var/lib/slipway") / self.installation_id

    @property
    def passwords(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.var / "demo-users.json").read_text())
        return found

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a management command of this installation."""
        python = ROOT / "var" / "venv" / "bin" / "python"
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLIPWAY_", "DATABASE_", "REDIS_"))}
        environment |= {"SLIPWAY_VAR_DIR": str(self.var), "SLIPWAY_PORT": str(httpx.URL(self.url).port)}
        environment["SLIPWAY_GATEWAY_PORT"] = str((httpx.URL(self.url).port or 0) + 1)
        command = [str(python), str(ROOT / "manage.py"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=check)

    def await_spare(self, template_id: str) -> str:
        """Wait until a clone of this template waits; return its domain's UUID. One process asks again and again."""
        script = (
            "import time; from sandboxes.models import Sandbox; until = time.monotonic() + 100\n"
            f"rows = Sandbox.objects.filter(template='{template_id}', vm__role='spare', vm__observed_state='paused')\n"
            "rows = rows.exclude(vm__operations__status__in=['pending', 'running']).values_list('vm__domain_uuid')\n"
            "while not rows.exists() and time.monotonic() < until: time.sleep(0.1)\n"
            "print(*rows[:1].get())"
        )
        return self.manage("shell", "--no-imports", "-c", script).stdout.strip()

    def api(self, user: str) -> "Api":
        token = self.manage("issue_token", user).stdout.strip()
        return Api(
            httpx.Client(base_url=f"{self.url}/api/v1/", headers={"Authorization": f"Bearer {token}"}, timeout=30)
        )


@dataclass
class Api:
    """A program that uses the REST API with one user's token."""

    http: httpx.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.http.close()

    def call(self, method: str, path: str, body: Any = None, status: int | None = None) -> Any:
        """Return the JSON of an answer with this status (default: any success)."""
        answer = self.http.request(method, path, json=body)
        good = answer.is_success if status is None else answer.status_code == status
        assert good, f"{method} {path}: {answer.status_code} {answer.text[:1000]}"
        return answer.json() if answer.content else None

    def finished(self, operation: dict[str, Any], seconds: float = 120) -> dict[str, Any]:
        """Wait until an operation has ended, whichever way."""

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.call("GET", f"operations/{operation['id']}")
            return found if found["status"] in ENDED else None

        found: dict[str, Any] = wait_for(ended, seconds, f"{operation['kind']} has not ended")
        return found

    def do(self, vm_id: str, verb: str, body: Any = None, seconds: float = 120) -> dict[str, Any]:
        """Ask for a verb and wait until it has succeeded; return the machine."""
        answer = self.call("POST", f"vms/{vm_id}/{verb}", {} if body is None else body, status=202)
        operation = self.finished(answer["operation"], seconds)
        assert operation["status"] == "succeeded", operation
        vm: dict[str, Any] = self.call("GET", f"vms/{vm_id}")
        return vm

    def create(
        self, name: str, image: str = "micro", flavor: str = "nano", seconds: float = 180, **more: Any
    ) -> dict[str, Any]:
        """Create a machine and wait until its guest answers."""
        answer = self.call("POST", "vms", {"name": name, "image": image, "flavor": flavor, **more}, status=202)
        operation = self.finished(answer["operation"], seconds)
        assert operation["status"] == "succeeded", operation
        vm: dict[str, Any] = self.call("GET", f"vms/{answer['vm']['id']}")
        return vm

    def run(self, sandbox_id: str, command: str, seconds: float = 60) -> dict[str, Any]:
        """Run a shell command in a sandbox and wait until it has ended, whichever way."""
        begun = self.call("POST", f"sandboxes/{sandbox_id}/runs", {"command": command}, status=201)

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.call("GET", f"runs/{begun['id']}")
            return None if found["status"] in ("pending", "running") else found

        found: dict[str, Any] = wait_for(ended, seconds, "the command has not ended")
        return found

    def delete(self, vm_id: str, seconds: float = 120) -> None:
        """Delete a machine and wait until its row has gone."""
        answer = self.http.delete(f"vms/{vm_id}")
        assert answer.status_code in (202, 404), answer.text
        if answer.status_code == 202:
            operation = self.finished(answer.json()["operation"], seconds)
            assert operation["status"] == "succeeded", operation
        assert self.http.get(f"vms/{vm_id}").status_code == 404


def traces(live: Live, domain_uuid: UUID | str) -> list[str]:
    """Return everything on this host that still bears a domain's UUID."""
    import libvirt

    uuid = str(domain_uuid)
    connection = libvirt.open("qemu:///system")
    try:
        found = [f"domain {d.name()}" for d in connection.listAllDomains() if d.UUIDString() == uuid]
        bindings = [b for b in connection.listAllNWFilterBindings() if uuid in b.XMLDesc()]
        found += [f"filter binding {binding.portDev()}" for binding in bindings]
    finally:
        connection.close()
    for folder in (live.data, Path("/var/log/libvirt/qemu"), Path("/run/libvirt/qemu"), Path("/var/lib/libvirt/qemu")):
        found += [str(path) for path in folder.rglob(f"*{uuid}*") if not path.name.endswith(".log")]
    return found
