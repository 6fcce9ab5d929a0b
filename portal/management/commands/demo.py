"""`manage.py demo`: drive the main job against the running portal, as a program would, and say how long it took."""

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import websockets
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.actor import Actor
from accounts.models import User
from accounts.services import issue_token_for

ENDED = ("succeeded", "failed", "cancelled")
CONSOLE_BYTES = 12  # "RFB 003.008\n"


class Command(BaseCommand):
    help = "Creates a machine through the API, waits for its guest, opens its console, deletes it; times each step."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--image", default="micro")
        parser.add_argument("--flavor", default="nano")
        parser.add_argument("--user", default="alice")
        parser.add_argument("--timeout", type=int, default=300, help="seconds for each operation")

    def handle(self, *args: Any, image: str, flavor: str, user: str, timeout: int, **options: Any) -> None:
        self.timeout = timeout
        headers = {"Authorization": f"Bearer {self._token(user)}"}
        with httpx.Client(base_url=f"{settings.PORTAL_URL}/api/v1/", headers=headers, timeout=30) as self.http:
            self.began = time.monotonic()
            answer = self._ask(image, flavor)
            try:
                self._look(self._arrive(answer))
            finally:
                self._delete(answer["vm"])

    def _token(self, username: str) -> str:
        user = User.objects.filter(username=username, is_active=True).first()
        if user is None:
            raise CommandError(f"There is no user {username}. Run ./dev up first.")
        return issue_token_for(Actor.system(), user, "demo", expires_at=timezone.now() + timedelta(hours=1))[1]

    def _ask(self, image: str, flavor: str) -> dict[str, Any]:
        name = f"demo-{secrets.token_hex(3)}"
        answer: dict[str, Any] = self._call("POST", "vms", json={"name": name, "image": image, "flavor": flavor})
        self._say(f"202 for {name} ({image}, {flavor})")
        return answer

    def _arrive(self, answer: dict[str, Any]) -> dict[str, Any]:
        self._follow(answer["operation"]["id"])
        vm: dict[str, Any] = self._call("GET", f"vms/{answer['vm']['id']}")
        self._say(f"{vm['status']} at {', '.join(vm['ip_addresses']) or 'no address'}")
        return vm

    def _look(self, vm: dict[str, Any]) -> None:
        picture = self.http.get(f"vms/{vm['id']}/screenshot")
        self._say(
            f"screenshot: {len(picture.content)} bytes" if picture.is_success else f"no screenshot: {picture.text}"
        )
        for kind, wanted in (("vnc", CONSOLE_BYTES), ("serial", 1)):
            ticket = self._call("POST", f"vms/{vm['id']}/console", json={"kind": kind})
            first = asyncio.run(_first_bytes(ticket, wanted))
            self._say(f"{kind} console open, first bytes {first[:24]!r}")

    def _delete(self, vm: dict[str, Any]) -> None:
        answer = self._call("DELETE", f"vms/{vm['id']}")
        self._follow(answer["operation"]["id"])
        gone = self._wait(lambda: self.http.get(f"vms/{vm['id']}").status_code == httpx.codes.NOT_FOUND)
        self._say("deleted, nothing is left" if gone else "deleted, but its row is still there")

    def _follow(self, operation_id: str) -> None:
        """Print each step as it is reached, until the end; CommandError when it fails."""
        shown = ""

        def ended() -> bool:
            nonlocal shown
            operation = self._call("GET", f"operations/{operation_id}")
            if operation["step"] and operation["step"] != shown:
                shown = operation["step"]
                self._say(f"{operation['kind']}: {shown} ({operation['progress']} %)")
            if operation["status"] in ("failed", "cancelled"):
                raise CommandError(f"{operation['kind']} {operation['status']}: {operation['error']}")
            return operation["status"] in ENDED

        if not self._wait(ended):
            raise CommandError(f"operation {operation_id} has not ended after {self.timeout} s")

    def _wait(self, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self.timeout
        pause = 0.05
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 1.3, 0.5)
        return True

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self.http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise CommandError(f"{settings.PORTAL_URL} does not answer ({error}). Run ./dev up first.") from error
        if not answer.is_success:
            raise CommandError(f"{method} {path} says {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def _say(self, text: str) -> None:
        self.stdout.write(f"{time.monotonic() - self.began:7.2f} s  {text}")
        self.stdout.flush()


async def _first_bytes(ticket: dict[str, Any], wanted: int) -> bytes:
    """Open a console with its ticket and return its first bytes, at least `wanted`, within 10 s."""
    found = b""
    async with asyncio.timeout(10):
        async with websockets.connect(ticket["url"], subprotocols=ticket["protocols"], max_size=None) as socket:
            while len(found) < wanted:
                message = await socket.recv()
                found += message if isinstance(message, bytes) else message.encode()
    return found
