"""How soon a browser hears: from libvirt's event to the page's socket, and from a click to the first push.

The socket is the one that the page of a machine opens, with the same cookies and the same first message. The machine
is paused and resumed, by libvirt-python behind the portal's back and then by the page's own button. Runs against the
portal of `./dev up -d`.
"""

import argparse
import json
import re
import secrets
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import libvirt
from websockets.sync.client import ClientConnection, connect

from tests.live import Api, Live

from ._live import running_portal, sign_in
from ._table import percentile, show

QUIET_SECONDS = 0.8  # a machine is pushed at most twice a second: the next change must not wait for that
PATIENCE_SECONDS = 30
PILL = re.compile(r'id="vm-status"><span class="sw-status is-(\w+)"')


class Page:
    """The page of one machine: its socket, and the statuses that arrive with their times."""

    def __init__(self, http: httpx.Client, socket: ClientConnection, vm: dict[str, Any]) -> None:
        self.http, self.socket, self.vm = http, socket, vm
        page = http.get(f"/vms/{vm['id']}/", headers={"X-Slipway-Script": ""}).text
        version = re.search(rf'data-vm="{vm["id"]}" data-version="(\d+)"', page)
        assert version, "the page does not say its version"
        wish = {"kind": "machine", "shown": {vm["id"]: int(version[1])}, "all": False}
        self.socket.send(json.dumps(wish))

    def settle(self) -> None:
        """Read what still comes until nothing has come for a while."""
        try:
            while True:
                self.socket.recv(timeout=QUIET_SECONDS)
        except TimeoutError:
            return

    def pushes(self, status: str) -> list[float]:
        """Return when (monotonic seconds) each fragment arrived, up to the one that shows this status."""
        until = time.monotonic() + PATIENCE_SECONDS
        arrived = []
        while True:
            message = json.loads(self.socket.recv(timeout=until - time.monotonic()))
            found = PILL.search(message.get("html", ""))
            if found:
                arrived.append(time.monotonic())
            if found and found[1] == status:
                return arrived

    def press(self, verb: str) -> None:
        """Press a power button as the page's script does."""
        self.http.post(f"/vms/{self.vm['id']}/power/{verb}").raise_for_status()


class Witness:
    """Hears libvirt's events itself, in a process of its own, and notes when."""

    def __init__(self) -> None:
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._run, daemon=True).start()
        self.connection = libvirt.open("qemu:///system")
        self.heard: dict[str, float] = {}
        self.news = threading.Condition()
        kind = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        self.connection.domainEventRegisterAny(None, kind, self._on_event, None)

    def _run(self) -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    def _on_event(self, _connection: Any, domain: libvirt.virDomain, *_what: Any) -> None:
        with self.news:
            self.heard[domain.UUIDString()] = time.monotonic()
            self.news.notify_all()

    def event_of(self, uuid: str, since: float) -> float:
        """Return when the first event of a domain after `since` was heard here."""
        with self.news:
            assert self.news.wait_for(lambda: self.heard.get(uuid, 0) >= since, PATIENCE_SECONDS), "no event"
            return self.heard[uuid]


@contextmanager
def open_page(live: Live, http: httpx.Client, vm: dict[str, Any]) -> Iterator[Page]:
    address = f"{live.url.replace('http', 'ws', 1)}/ws/status"
    cookies = "; ".join(f"{name}={value}" for name, value in http.cookies.items())
    with connect(address, origin=live.url, additional_headers={"Cookie": cookies}) as socket:
        yield Page(http, socket, vm)


@contextmanager
def machine(api: Api) -> Iterator[dict[str, Any]]:
    vm = api.create(f"bench-{secrets.token_hex(3)}")
    try:
        yield vm
    finally:
        api.delete(vm["id"])


def behind_its_back(page: Page, witness: Witness, rounds: int) -> dict[str, list[float]]:
    """Pause and resume with libvirt-python."""
    domain = witness.connection.lookupByUUIDString(page.vm["domain_uuid"])
    times: dict[str, list[float]] = {"libvirt event to socket": [], "call of libvirt to socket": []}
    for turn in range(rounds):
        page.settle()
        act, status = (domain.suspend, "paused") if turn % 2 == 0 else (domain.resume, "running")
        began = time.monotonic()
        act()
        event, arrived = witness.event_of(domain.UUIDString(), began), page.pushes(status)[-1]
        times["libvirt event to socket"].append(arrived - event)
        times["call of libvirt to socket"].append(arrived - began)
    return times


def by_its_button(page: Page, rounds: int) -> dict[str, list[float]]:
    """Pause and resume with the page's own button."""
    times: dict[str, list[float]] = {"click to first push": [], "click to new status": []}
    for turn in range(rounds):
        page.settle()
        verb, status = ("pause", "paused") if turn % 2 == 0 else ("resume", "running")
        began = time.monotonic()
        answered = threading.Thread(target=page.press, args=[verb])
        answered.start()
        arrived = page.pushes(status)
        answered.join()
        times["click to first push"].append(arrived[0] - began)
        times["click to new status"].append(arrived[-1] - began)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds // 2 * 2  # an even number leaves the machine running
    live, witness = running_portal(), Witness()
    with (
        live.api("alice") as api,
        sign_in(live, "alice") as http,
        machine(api) as vm,
        open_page(live, http, vm) as page,
    ):
        found = behind_its_back(page, witness, rounds) | by_its_button(page, rounds)
    rows = [
        [name, len(times), *(f"{1000 * value:.0f}" for value in (statistics.median(times), percentile(times, 95)))]
        for name, times in found.items()
    ]
    show("How soon a browser hears", ["from ... to", "times", "p50 ms", "p95 ms"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
