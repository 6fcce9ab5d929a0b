"""Mixed load with a fault every minute and an audit every half: operations acknowledged, finished, lost, repaired.

Real Celery worker, node agent, beat, Redis and database as processes of its own; the hypervisor is the fake that
they share through a file, each call taking 0.1 s. `--fault-every` and `--minutes` say how much and how long.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.installation import Installation, Refused

from ._table import percentile, show, verdict

LIVE = ("pending", "running")
MACHINES = 8
VERBS = ("start", "stop", "force_off", "reboot", "pause", "resume", "console", "delete")
CALL_SECONDS = 0.1
AUDIT_SECONDS = 30.0
REPAIRED_SECONDS = 30.0


class Soak:
    """One run: the portal, what was acknowledged, and how long each fault took to be forgotten."""

    def __init__(self, portal: Installation, seed: int) -> None:
        self.portal = portal
        self.chance = random.Random(seed)
        self.acknowledged: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.names: list[str] = []
        self.made = 0
        self.repairs: dict[str, list[float]] = defaultdict(list)
        self.waiting: list[tuple[str, float, set[str]]] = []
        self.suspects: set[str] = set()
        self.breaches: list[str] = []

    def ask(self) -> None:
        """Ask for something that a person might ask for; a refusal is an answer too."""
        try:
            if len(self.names) < MACHINES:
                self.made += 1
                name = f"v-{self.made}"
                self.acknowledged.add(self.portal("create", name))
                self.names.append(name)
                return
            verb, name = self.chance.choice(VERBS), self.chance.choice(self.names)
            if verb == "console":
                self.portal("console", name)
                return
            self.acknowledged.add(self.portal("ask", verb, name))
            if verb == "delete":
                self.names.remove(name)
        except Refused as refusal:
            self.refused[str(refusal).partition(":")[0]] += 1

    def fault(self) -> None:
        """Let something die, hang or forget, and note which operations were under way."""
        faults: dict[str, Callable[[], None]] = {
            "worker killed": lambda: self._restart("worker"),
            "agent killed": lambda: self._restart("agent"),
            "beat killed": lambda: self._restart("beat"),
            "Redis killed": lambda: self._restart("redis"),
            "Redis flushed": lambda: (self.portal.redis("flushall"), None)[1],
            "worker stopped 20 s": lambda: self._stand_still("worker", 20.0),
            "Redis stopped 10 s": lambda: self._stand_still("redis", 10.0),
        }
        name = self.chance.choice(list(faults))
        live = {row[0] for row in self.portal("operations") if row[2] in LIVE}
        began = time.monotonic()
        faults[name]()
        self.waiting.append((name, began, live))

    def _restart(self, name: str) -> None:
        self.portal.kill(name)
        self.portal.start(name)

    def _stand_still(self, name: str, seconds: float) -> None:
        self.portal.signal(name, signal.SIGSTOP)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.ask()
            time.sleep(1.0)
        self.portal.signal(name, signal.SIGCONT)

    def look(self) -> None:
        """Note the faults after which everything that was under way has ended."""
        live = {row[0] for row in self.portal("operations") if row[2] in LIVE}
        for fault in list(self.waiting):
            name, began, then = fault
            if not then & live:
                self.waiting.remove(fault)
                self.repairs[name].append(time.monotonic() - began)

    def audit(self) -> None:
        """Count what is broken now and was half a minute ago: what moves while it is looked at is not."""
        found = set(self.portal("breaches"))
        lasting = found & self.suspects
        for breach in lasting:
            print(f"BROKEN {breach}", flush=True)
        self.breaches += sorted(lasting)
        self.suspects = found


def run(soak: Soak, seconds: float, fault_every: float) -> None:
    began = time.monotonic()
    next_fault, next_audit = began + fault_every / 2, began + AUDIT_SECONDS
    while (now := time.monotonic()) - began < seconds:
        soak.ask()
        if now >= next_fault:
            soak.fault()
            next_fault = now + fault_every
        if now >= next_audit:
            soak.audit()
            next_audit = now + AUDIT_SECONDS
        soak.look()
        time.sleep(soak.chance.uniform(0.2, 1.0))


def tell(soak: Soak) -> bool:
    """Print the table and the verdicts."""
    operations = soak.portal("operations")
    finished = {row[0] for row in operations if row[2] not in LIVE}
    ends: dict[str, int] = defaultdict(int)
    for row in operations:
        ends[f"{row[2]} {row[3]}".strip()] += 1
    show("Ends", ["status and reason", "operations"], [[name, count] for name, count in sorted(ends.items())])
    rows = [
        [name, len(times), *[f"{percentile(times, p):.1f}" for p in (50, 99)]]
        for name, times in sorted(soak.repairs.items())
    ]
    show("Time until all that was under way has ended", ["fault", "times", "p50 s", "p99 s"], rows)
    print(f"consoles opened {soak.portal('consoles_opened')}; refused: {dict(soak.refused)}")
    print(f"acknowledged {len(soak.acknowledged)}, finished {len(finished)}")
    good = verdict("lost", len(soak.acknowledged - {row[0] for row in operations}), 0)
    good &= verdict("never ended", len(operations) - len(finished), 0)
    return verdict("lasting breaches of invariants", len(soak.breaches), 0) and good


@contextmanager
def _passable(home: str) -> Iterator[None]:
    """Let PostgreSQL's user through."""
    Path(home).chmod(0o711)
    yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--fault-every", type=float, default=60, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true", help="a private one instead of SQLite")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="slipway-soak.") as home,
        _passable(home),
        Installation(Path(home), asked.postgresql) as portal,
    ):
        portal("slow", CALL_SECONDS)
        soak = Soak(portal, asked.seed)
        run(soak, 60 * asked.minutes, asked.fault_every)
        portal.settled(360)
        soak.look()
        return 0 if tell(soak) else 1


if __name__ == "__main__":
    sys.exit(main())
