"""A soak on the fake hypervisor, which real processes share through a file: quick, and needs no libvirt."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.installation import Installation, Refused

from ._soak import Fault, Soak

MACHINES = 8
BOXES = 3
VERBS = ("start", "stop", "force_off", "reboot", "pause", "resume", "resize", "console", "delete")
OF_BOXES = ("reset", "pause", "resume", "reset", "pause", "resume", "delete")
SIZES = ("small", "medium")
SHARE_OF_BOXES = 0.4
CALL_SECONDS = 0.1


class FakeSoak(Soak):
    """The driver asks services directly; its consoles are redeemed as a gateway does it."""

    def __init__(self, portal: Installation, seed: int) -> None:
        super().__init__(portal, seed)
        self.names: list[str] = []
        self.boxes: list[str] = []
        self.made = 0
        self.acknowledged.add(portal("prepare_boxes"))

    def ask(self) -> None:
        try:
            if self.chance.random() < SHARE_OF_BOXES:
                self._ask_boxes()
                return
            if len(self.names) < MACHINES:
                self.made += 1
                name = f"v-{self.made}"
                self.acknowledged.add(self.portal("create", name))
                self.names.append(name)
                return
            verb, name = self.chance.choice(VERBS), self.chance.choice(self.names)
            if verb == "console":
                self.portal("console", name)
                self.consoles["opened"] += 1
                return
            more = [self.chance.choice(SIZES)] if verb == "resize" else []
            self.acknowledged.add(self.portal("ask", verb, name, *more))
            if verb == "delete":
                self.names.remove(name)
        except Refused as refusal:
            # a machine may end between a ticket and its use, so why a console was refused is told
            kind, _colon, why = str(refusal).partition(": ")
            self.refused[f"{kind} {why}" if kind == "ConsoleRefused" else kind] += 1

    def _ask_boxes(self) -> None:
        """A sandbox more, or something of one that there is; one clone is to wait (faults/driver_boxes.py)."""
        if len(self.boxes) < BOXES:
            self.made += 1
            name = f"b-{self.made}"
            self.acknowledged.add(self.portal("box", name))
            self.boxes.append(name)
            return
        verb, name = self.chance.choice(OF_BOXES), self.chance.choice(self.boxes)
        if operation := self.portal("ask_box", verb, name):
            self.acknowledged.add(operation)
        if verb == "delete":
            self.boxes.remove(name)

    def faults(self) -> dict[str, Fault]:
        return {
            "worker killed": Fault(lambda: self.restart("worker")),
            "node agent killed": Fault(lambda: self.restart("agent")),
            "beat killed": Fault(lambda: self.restart("beat")),
            "Redis killed": Fault(lambda: self.restart("redis")),
            "Redis flushed": Fault(lambda: self.portal.redis("flushall")),
            "worker stopped for 20 s": Fault(lambda: self.stand_still(self._stop("worker"), 20.0)),
            "Redis stopped for 10 s": Fault(lambda: self.stand_still(self._stop("redis"), 10.0)),
        }

    def _stop(self, name: str):
        return lambda stop: self.portal.signal(name, signal.SIGSTOP if stop else signal.SIGCONT)


@contextmanager
def on_the_fake(seed: int, postgresql: bool) -> Iterator[FakeSoak]:
    with tempfile.TemporaryDirectory(prefix="slipway-soak.") as home:
        Path(home).chmod(0o711)  # PostgreSQL's user may pass
        with Installation(Path(home), postgresql) as portal:
            portal("slow", CALL_SECONDS)
            yield FakeSoak(portal, seed)
