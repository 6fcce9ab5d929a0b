"""What every soak does: ask, let something fail, look how long that lasts, audit, and tell."""

import random
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.installation import Installation, Refused

from ._table import percentile, show, verdict

LIVE = ("pending", "running")
AUDIT_SECONDS = 30.0
SETTLED_SECONDS = 660.0  # a guest may take five minutes for a reboot, and be asked twice


Healed = Callable[[float], bool]


def always(_since: float) -> bool:
    return True


@dataclass
class Fault:
    """Something that dies, hangs or forgets: `let` lasts as long as the fault.

    `healed(began)` says whether the rest is well again, beside the operations that were under way.
    """

    let: Callable[[], object]
    healed: Healed = always


@dataclass
class Wound:
    """A fault that is not forgotten yet, and the operations that were under way when it came.

    `orphans`, where workers died: how often each operation that one had in hand had been taken over before.
    """

    name: str
    began: float
    live: set[str]
    healed: Healed
    orphans: dict[str, int]


class Soak(ABC):
    """One run: the portal, what was acknowledged, and how long each fault took to be forgotten."""

    pauses = (0.2, 1.0)  # seconds between two questions, at least and at most

    def __init__(self, portal: Installation, seed: int) -> None:
        self.portal = portal
        self.chance = random.Random(seed)
        self.acknowledged: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.consoles: Counter[str] = Counter()
        self.repairs: dict[str, list[float]] = defaultdict(list)
        self.wounds: list[Wound] = []
        self.suspects: set[str] = set()
        self.breaches: list[str] = []
        self.audits = 0
        self.began = time.monotonic()
        self.happens = "nothing"  # which fault lasts just now
        self.unsettled = ""  # what was still wrong when waiting was given up
        self._left: list[str] = []

    @abstractmethod
    def ask(self) -> None:
        """Ask for something that a person might ask for; a refusal is an answer too."""

    @abstractmethod
    def faults(self) -> dict[str, Fault]:
        """Return what can fail now."""

    def finish(self) -> None:
        """Wait until all that was asked for has ended, and the audit is clean; what has not is told by the verdicts."""
        try:
            self.portal.settled(SETTLED_SECONDS)
        except AssertionError as unsettled:
            self.unsettled = str(unsettled)
        self.look()

    # --- faults -------------------------------------------------------------------------------------------------
    def fault(self) -> None:
        """Let the next one come, and note which operations were under way: each once, in a new order every round."""
        possible = self.faults()
        if not set(self._left) & set(possible):
            self._left = self.chance.sample(sorted(possible), len(possible))
        name = next(name for name in self._left if name in possible)
        self._left.remove(name)
        rows = [row for row in self.portal("operations") if row[2] in LIVE]
        orphans = {row[0]: row[5] for row in rows if row[2] == "running" and name.startswith("worker")}
        wound = Wound(name, time.monotonic(), {row[0] for row in rows}, possible[name].healed, orphans)
        print(f"{wound.began - self.began:5.0f} s  {name}, {len(wound.live)} under way", flush=True)
        self.happens = name
        try:
            possible[name].let()
        finally:
            self.happens = "nothing"
        self.wounds.append(wound)

    def restart(self, name: str) -> None:
        self.portal.kill(name)
        self.portal.start(name)

    def stand_still(self, signal: Callable[[bool], None], seconds: float) -> None:
        """Stop something by `signal(True)`, ask all the same, and let it go on by `signal(False)`."""
        signal(True)
        try:
            self.ask_for(seconds)
        finally:
            signal(False)

    def ask_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.ask()
            time.sleep(1.0)

    # --- looking ------------------------------------------------------------------------------------------------
    def look(self) -> None:
        """Note the faults after which everything that was under way is in hand again, and has ended."""
        if not self.wounds:
            return
        rows = {row[0]: row for row in self.portal("operations") if row[2] in LIVE}
        for wound in list(self.wounds):
            if wound.orphans and not any(rows[key][5] == n for key, n in wound.orphans.items() if key in rows):
                wound.orphans.clear()
                self.repairs[f"{wound.name}: all in hand again"].append(time.monotonic() - wound.began)
            if not wound.live & rows.keys() and wound.healed(wound.began):
                self.wounds.remove(wound)
                self.repairs[wound.name].append(time.monotonic() - wound.began)

    def audit(self) -> None:
        """Count what is broken now and was half a minute ago: what moves while it is looked at is not."""
        found = set(self.portal("breaches"))
        lasting = found & self.suspects
        for breach in lasting:
            print(f"BROKEN {breach}", flush=True)
        self.breaches += sorted(lasting)
        self.suspects = found
        self.audits += 1

    def run(self, seconds: float, fault_every: float) -> None:
        self.began = time.monotonic()
        next_fault, next_audit = self.began + fault_every / 2, self.began + AUDIT_SECONDS
        while (now := time.monotonic()) - self.began < seconds:
            try:
                self.ask()
                if now >= next_fault:
                    next_fault = now + fault_every
                    self.fault()
                if now >= next_audit:
                    next_audit = now + AUDIT_SECONDS
                    self.audit()
                self.look()
            except Refused as away:  # the harness itself meets the faults too
                self.errors[f"harness: {str(away)[:120]}"] += 1
            time.sleep(self.chance.uniform(*self.pauses))

    # --- telling ------------------------------------------------------------------------------------------------
    def tell(self) -> bool:
        """Print the tables and the verdicts; return whether all are good."""
        operations = self.portal("operations")
        finished = {row[0] for row in operations if row[2] not in LIVE}
        ends = Counter(f"{row[2]} {row[3]}".strip() for row in operations)
        show("Ends", ["status and reason", "operations"], sorted(ends.items()))
        kinds: dict[str, list[float]] = defaultdict(list)
        for row in operations:
            kinds[row[1]].append(row[6])
        head = ["p50 s", "p99 s"]
        show("Operations, from the request to the end", ["kind", "times", *head], _times(kinds))
        title = "Time until all that was under way has ended, or is in hand again"
        show(title, ["fault", "times", *head], _times(self.repairs))
        for what, found in (("refused", self.refused), ("consoles", self.consoles), ("trouble", self.errors)):
            print(f"{what}: {dict(found)}")
        both = self.acknowledged & finished
        print(f"acknowledged {len(self.acknowledged)}, of them finished {len(both)}, audits {self.audits}")
        if self.unsettled:
            print(f"not settled after {SETTLED_SECONDS:.0f} s: {self.unsettled}")
        good = verdict("lost", len(self.acknowledged - {row[0] for row in operations}), 0)
        good &= verdict("never ended", len(operations) - len(finished), 0)
        good &= verdict("faults never forgotten", len(self.wounds), 0)
        good &= verdict("settled in the end", int(bool(self.unsettled)), 0)
        return verdict("lasting breaches of invariants", len(self.breaches), 0) and good


def _times(found: dict[str, list[float]]) -> list[list[object]]:
    return [
        [name, len(times), *(f"{percentile(times, percent):.1f}" for percent in (50, 99))]
        for name, times in sorted(found.items())
    ]
