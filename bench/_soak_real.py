"""A soak on the real parts: libvirtd with real QEMU in namespaces of its own, PostgreSQL, Redis, web and gateway.

People are programs that use the REST API over HTTP: each request has an Idempotency-Key and is repeated until it is
answered, so that what was acknowledged is known even when the answer was lost on the way. Guests are emulated where
the machine has no virtualisation, hence few at a time.
"""

import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.faults.installation import Installation
from tests.faults.private_host import PrivateHost, home_with_micro
from tests.rfb import open_console

from ._soak import SETTLED_SECONDS, Fault, Soak
from ._table import verdict

MACHINES, AT_ONCE = 3, 2
SENSIBLE = {
    "running": ("stop", "force-off", "reboot", "pause", "console", "console", "delete"),
    "paused": ("resume", "resume", "force-off"),
    "stopped": ("start", "start", "start", "delete"),
    "crashed": ("start", "force-off", "delete"),
    "error": ("delete",),
}
HASTY = 0.1  # how often somebody asks for what does not fit
VERBS = ("start", "stop", "force-off", "reboot", "pause", "resume", "delete")
ANSWER_SECONDS = 20.0  # of the API
CONSOLE_SECONDS = 10.0
CLOSED = {  # docs/api.md
    1000: "ended", 1012: "come back later", 1013: "come back later", 4401: "bad ticket", 4403: "revoked",
    4404: "gone", 4409: "not running", 4429: "too many", 4504: "no answer",
}  # fmt: skip


@dataclass
class Request:
    """Something that was asked for and is not answered yet."""

    method: str
    path: str
    body: dict[str, Any]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


class RealSoak(Soak):
    """At most three machines and two operations at a time, asked for over HTTP."""

    pauses = (0.5, 1.5)

    def __init__(self, portal: Installation, host: PrivateHost, seed: int) -> None:
        super().__init__(portal, seed)
        self.host = host
        self.made = 0
        self.unanswered: list[Request] = []
        headers = {"Authorization": f"Bearer {portal('token')}"}
        url = f"http://127.0.0.1:{portal.port}/api/v1/"
        self.http = httpx.Client(base_url=url, headers=headers, timeout=ANSWER_SECONDS, trust_env=False)

    # --- asking -------------------------------------------------------------------------------------------------
    def ask(self) -> None:
        if self.unanswered and (len(self.unanswered) > AT_ONCE or self.chance.random() < 0.5):
            self._send(self.chance.choice(self.unanswered))
            return
        machines = self._machines()
        if machines is None or sum(vm["operation"] is not None for vm in machines) >= AT_ONCE:
            return
        if len(machines) < MACHINES:
            self.made += 1
            self._send(Request("POST", "vms", {"name": f"v-{self.made}", "image": "micro", "flavor": "nano"}))
            return
        vm = self.chance.choice(machines)
        hasty = self.chance.random() < HASTY
        verbs = VERBS if hasty else SENSIBLE.get(vm["status"], ()) if vm["operation"] is None else ()
        if not verbs:
            return
        verb = self.chance.choice(verbs)
        if verb == "console":
            self.consoles[self._look_at(vm["id"], self.chance.choice(("serial", "vnc")))] += 1
        elif verb == "delete":
            self._send(Request("DELETE", f"vms/{vm['id']}", {}))
        else:
            self._send(Request("POST", f"vms/{vm['id']}/{verb}", {}))

    def _machines(self) -> list[dict[str, Any]] | None:
        answer = self._call("GET", "vms", "machines")
        return answer.json()["items"] if answer is not None and answer.is_success else None

    def _send(self, request: Request) -> None:
        """Send it, for the first time or again with its key; it stays until it is answered."""
        if request not in self.unanswered:
            self.unanswered.append(request)
        headers = {"Idempotency-Key": request.key} if request.method == "POST" else {}
        body = request.body if request.method == "POST" else None
        answer = self._call(request.method, request.path, "changes", headers=headers, json=body)
        if answer is None:
            return
        code = answer.json().get("code", "")
        if code == "in_flight":  # the first one broke off: its key is free after a minute
            self.errors["changes: in_flight"] += 1
            return
        self.unanswered.remove(request)
        if answer.status_code == 202:
            self.acknowledged.add(answer.json()["operation"]["id"])
        else:
            self.refused[f"{answer.status_code} {code}"] += 1

    def _call(self, method: str, path: str, what: str, **options: Any) -> httpx.Response | None:
        """Return the answer; None where there was none that says anything, which is counted."""
        try:
            answer = self.http.request(method, path, **options)
        except httpx.TransportError as error:
            self.errors[f"{what}: {type(error).__name__}"] += 1
            return None
        is_ours = answer.headers["content-type"].startswith("application/")
        code = answer.json().get("code", "") if is_ours and answer.is_error else ""
        if answer.status_code >= 500 and code != "no_capacity":
            self.errors[f"{what}: {answer.status_code} {code}"] += 1
            return None
        return answer

    def _look_at(self, vm: str, kind: str) -> str:
        """Open a console until it says something; return how that went, a refusal by its reason."""
        answer = self._call("POST", f"vms/{vm}/console", "consoles", json={"kind": kind})
        if answer is None:
            return "no ticket"
        if answer.status_code != 201:
            return f"no ticket: {answer.json()['code']}"
        try:
            with open_console(answer.json(), open_timeout=CONSOLE_SECONDS) as console:
                if kind == "serial":
                    console.send(b"\r")
                console.recv(timeout=CONSOLE_SECONDS)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 0
            return f"closed: {CLOSED.get(code, code)}"
        except TimeoutError:
            return f"{kind} silent while this happens: {self.happens}"
        except (OSError, WebSocketException) as error:
            return f"no gateway: {type(error).__name__}"
        return "opened"

    # --- faults -------------------------------------------------------------------------------------------------
    def faults(self) -> dict[str, Fault]:
        found = {
            "worker killed": Fault(lambda: self.restart("worker"), self._answers),
            "node agent killed": Fault(lambda: self.restart("agent"), self._compared),
            "web killed": Fault(lambda: self.restart("web"), self._answers),
            "gateway killed": Fault(lambda: self.restart("gateway"), self._answers),
            "Redis killed": Fault(lambda: self.restart("redis"), self._answers),
            "Redis flushed": Fault(lambda: self.portal.redis("flushall"), self._answers),
            "Redis stopped for 10 s": Fault(lambda: self.stand_still(self._stop_redis, 10.0), self._answers),
            "PostgreSQL killed, back after 3 s": Fault(self._kill_postgresql, self._answers),
            "libvirtd killed, back after 5 s": Fault(self._kill_libvirtd, self._compared),
            "libvirtd stopped for 20 s": Fault(lambda: self.stand_still(self._stop_libvirtd, 20.0), self._compared),
        }
        machines = self.portal("machines")
        if running := [name for name, row in machines.items() if self.host.qemu_lives(row[0])]:
            name = self.chance.choice(running)
            domain = machines[name][0]
            found["QEMU killed"] = Fault(lambda: self._kill_qemu(domain), lambda _since: self._is_true(name, domain))
        return found

    def _stop_redis(self, stop: bool) -> None:
        self.portal.signal("redis", signal.SIGSTOP if stop else signal.SIGCONT)

    def _stop_libvirtd(self, stop: bool) -> None:
        self.host.signal(signal.SIGSTOP if stop else signal.SIGCONT, "libvirtd -d")

    def _kill_postgresql(self) -> None:
        assert self.portal.postgres
        self.portal.postgres.kill()
        self.ask_for(3.0)
        self.portal.postgres.start()

    def _kill_libvirtd(self) -> None:
        self.host.kill()
        self.ask_for(5.0)
        self.host.start()

    def _kill_qemu(self, domain: str) -> None:
        if self.host.qemu_lives(domain):  # it may have ended since it was chosen
            self.host.kill_qemu(domain)

    def _answers(self, _since: float) -> bool:
        return self._machines() is not None

    def _compared(self, since: float) -> bool:
        """Has the node agent reached libvirt, and compared since then?"""
        there, seconds = self.portal("node")
        return self._answers(since) and there and seconds is not None and time.monotonic() - seconds > since

    def _is_true(self, name: str, domain: str) -> bool:
        """Is the machine whose QEMU died no longer said to run, or gone, or did somebody start it again?"""
        row = self.portal("machines").get(name)
        return row is None or row[2] not in ("running", "paused") or self.host.qemu_lives(domain)

    # --- the end ------------------------------------------------------------------------------------------------
    def finish(self) -> None:
        """Besides: delete all, and see that nothing is left on the host."""
        self._until(lambda: not self.unanswered, lambda: self._send(self.unanswered[0]), 120)
        super().finish()
        for vm in self._machines() or []:
            self._send(Request("DELETE", f"vms/{vm['id']}", {}))
        self._until(lambda: not self.unanswered, lambda: self._send(self.unanswered[0]), 120)
        self.portal.settled(SETTLED_SECONDS)
        self.http.close()

    @staticmethod
    def _until(done: Callable[[], bool], again: Callable[[], None], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not done() and time.monotonic() < until:
            again()
            time.sleep(1.0)

    def tell(self) -> bool:
        good = super().tell()
        left = [*self.host.virsh("list", "--all", "--name").split(), *self.portal("files")]
        left += [f"QEMU {pid}" for pid in self.host.pids("qemu-system")]
        good &= verdict("requests never answered", len(self.unanswered), 0)
        good &= verdict("answers of 500", sum(n for what, n in self.errors.items() if " 500 " in what), 0)
        return verdict(f"left on the host after the last delete {left or ''}".strip(), len(left), 0) and good


@contextmanager
def on_real_parts(seed: int) -> Iterator[RealSoak]:
    with (
        home_with_micro() as home,
        PrivateHost(home) as host,
        Installation(home, postgres=True, libvirt_uri=host.uri) as portal,
    ):
        for name in ("gateway", "web"):
            portal.start(name)
        yield RealSoak(portal, host, seed)
