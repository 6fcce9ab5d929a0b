"""F1 on real processes: workers end by SIGKILL at every place of every operation, and others finish what they left.

Celery, Redis, PostgreSQL, node agent and beat are real, the hypervisor is the fake. Nothing is listed: the places are
those of `vms.steps`. Each operation has a place of its own, and a few of them are under way at a time.
"""

import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from bench._table import percentile
from tests.faults import fatal
from tests.faults.installation import Refused, installation
from tests.journeys import STATES
from tests.pace import in_time
from tests.portal.lab import SANDBOX_KINDS
from tests.portal.test_faults_fake import BOOTS, places
from vms.states import OperationKind
from vms.steps import STEPS

WORKERS, DOOMED = 10, 5  # at most so many have a death before them: the others go on with what was left
REPAIRED_SECONDS = 30.0  # from the SIGKILL to the end
AGENT_LIVES_SECONDS = 12.0  # enough to start and to ring
AGENT_AWAY_SECONDS = 7.0  # until it rings again: its start, and its pause
LEASE_AND_BELL = 20.0  # of these: 15 until the lease has run out, up to 5 until a bell is rung again
EVERY = list(places(frozenset(STEPS)))


def sample():
    """One place of each kind, another one for each."""
    of_kind = [[place for place in EVERY if place.kind == kind] for kind in STEPS]
    return [found[number * 3 % len(found)] for number, found in enumerate(of_kind)]


class Deaths:
    """Operations whose first worker dies where a plan says; `workers` are replaced as they die.

    Where `agent_dies`, the node agent is killed among them too, again and again, each time that it has been back for a
    while: who waits for its bell waits for its return as well.
    """

    def __init__(self, portal, chosen, agent_dies=False):
        self.portal, self.plans, self.agent_dies = portal, portal.home / "plans", agent_dies
        self.plans.mkdir()
        self.places = {f"m-{number}": place for number, place in enumerate(chosen)}
        self.operations = {}
        self.workers = []

    def ask(self, *words):
        """Let the driver ask; on a busy machine the node may look away for a moment, and then it is asked again."""

        def asked():
            try:
                return [self.portal(*words)]
            except Refused as refusal:
                if "NoRoom" not in str(refusal):
                    raise
                return []

        return self.portal.wait(asked, 60, "the node takes machines")[0]

    def get_ready(self):
        """Let everything be there that the operations are about. What tends spare clones would count these in the
        very moment in which they and their pool grow."""
        self.portal.kill("beat")
        wanted = [[place.kind, name] for name, place in self.places.items()]
        self.portal("templates", sorted({place.kind for place in self.places.values()}))
        turn = 0
        while sum(self.ask("get_ready", turn, *one) for one in wanted):
            self.portal.wait(lambda: self.portal("live") == 0, 240, f"turn {turn} of what has to be there first")
            turn += 1
        self.portal.kill("worker")

    def tend(self):
        """Bear a worker for each that has died; return whether one more may be doomed."""
        self.workers = [worker for worker in self.workers if worker.lives()]
        while len(self.workers) < WORKERS:
            self.workers.append(self.portal.bear(threads=1, plans=self.plans))
        return len(list(self.plans.glob("*.plan"))) < DOOMED

    def happen(self):
        agent_deaths, back = 0, time.monotonic()
        for name, place in self.places.items():
            self.portal.wait(self.tend, 60, "a worker has died")
            words = [place.kind, place.step, place.point]
            self.operations[self.ask("ask_fatal", place.kind, name, words, str(self.plans))] = (name, place)
            if self.agent_dies and time.monotonic() - back > AGENT_LIVES_SECONDS:
                self.portal.kill("agent")
                self.portal.start("agent")
                agent_deaths, back = agent_deaths + 1, time.monotonic()
        assert (agent_deaths > 2) is self.agent_dies
        self.portal.start("beat")
        self.portal.wait(lambda: self.tend() and self.portal("live") == 0, 180, "every operation has ended")

    def judge(self):
        """Every worker died where it should have, and its operation was finished by another, once, and in time."""
        self.portal.settled()
        outcome, builds = self.portal("outcome"), self.portal("builds")
        killed, taken = (fatal.moments(self.plans, what) for what in ("killed", "taken"))
        assert [(place, outcome[operation]) for operation, (_name, place) in self.operations.items()
                if operation not in killed] == []  # fmt: skip
        repairs = {}
        for operation, (name, place) in self.operations.items():
            kind, status, code, attempt, takeovers, ended, *machine = outcome[operation]
            ended_before = place.point == "after the end"
            expected = (place.kind, "succeeded", "", 1, 0) if ended_before else (place.kind, "succeeded", "", 2, 1)
            assert (kind, status, code, attempt, takeovers) == expected, place
            check(place, machine, builds.get(name))
            if not ended_before:
                repairs[str(place)] = (taken[operation] - killed[operation], ended - killed[operation])
        return repairs


def check(place, machine, build):
    """What was asked for has come true, once."""
    desired, state, boots = machine
    if place.kind in (OperationKind.DELETE, OperationKind.PREPARE):
        assert (desired, state) == ("", ""), place
        assert build == ("ready" if place.kind == OperationKind.PREPARE else None), place
        return
    assert state == STATES.get(place.kind, "running"), place
    assert desired == ("stopped" if state == "suspended" else state), place
    if place.kind not in SANDBOX_KINDS:
        assert boots == BOOTS.get(place.kind, 1), place


def die_at(chosen, agent_dies=False):
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as name:
        Path(name).chmod(0o711)  # PostgreSQL's user may pass
        with installation(Path(name), postgres=True) as portal:
            deaths = Deaths(portal, chosen, agent_dies)
            began = time.monotonic()
            deaths.get_ready()
            ready = time.monotonic()
            print(f"{len(chosen)} places; what has to be there took {ready - began:.0f} s", flush=True)
            deaths.happen()
            print(f"{time.monotonic() - ready:.0f} s until all had died and all had ended", flush=True)
            return deaths.judge()


def tell(repairs, later=0.0):
    """`later`: seconds for which the one that rings may be away."""
    for what, times in zip(("taken over", "ended"), zip(*repairs.values(), strict=True), strict=True):
        p50, p99 = (percentile(list(times), percent) for percent in (50, 99))
        print(f"{len(times)} killed by SIGKILL, {what} after: p50 {p50:.1f} s, p99 {p99:.1f} s")
    slowest = max(repairs, key=lambda place: repairs[place][1])
    in_time(f"the slowest, {slowest}, from SIGKILL to the end", repairs[slowest][1], REPAIRED_SECONDS + later,
            LEASE_AND_BELL + later)  # fmt: skip


@pytest.mark.short
@pytest.mark.timeout(300)
def test_a_worker_of_each_kind_dies_by_sigkill_F1():
    tell(die_at(sample()))


@pytest.mark.timeout(1200)
def test_workers_die_by_sigkill_at_every_place_F1():
    tell(die_at(EVERY))


@pytest.mark.timeout(1200)
def test_the_node_agent_dies_too_beside_every_sandbox_operation_F1():
    """Who lost the bells, the comparisons and the sweeps of its node finds them again; nothing is left behind."""
    tell(die_at([place for place in EVERY if place.kind in SANDBOX_KINDS], agent_dies=True), AGENT_AWAY_SECONDS)


@pytest.mark.short
def test_the_sample_has_each_kind_and_each_point():
    assert Counter(place.kind for place in sample()) == Counter(list(STEPS))
    assert {place.point for place in sample()} == {place.point for place in EVERY}
