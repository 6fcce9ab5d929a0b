"""F1 and F2 on real processes: workers under load are killed at hundreds of random times, and nothing is lost."""

import random
import time
from collections import Counter

import pytest

from bench._soak_fake import FakeSoak
from tests.faults.installation import installation

KILLS, NIGHTLY_KILLS = 200, 1000
WORKERS = 2
CALL_SECONDS = 0.05  # of the fake hypervisor
REPAIRED_SECONDS = 30.0
# a machine may stop between the ticket of a console and its use
# BadInput: a size whose disk is smaller than a machine's
REFUSALS = {"BadInput", "InvalidState", "OperationInProgress", "ConsoleRefused NOT_RUNNING", "ConsoleRefused GONE"}
NOBODYS_FAULT = {"", "preempted", "cancelled", "guest_timeout", "invalid_state"}


def kill_at_random(home, times, seed):
    """Kill one of two workers so many times while people ask for things; everything acknowledged has to end."""
    chance = random.Random(seed)
    with installation(home) as portal:
        portal("slow", CALL_SECONDS)
        portal.kill("worker")
        load = FakeSoak(portal, seed)
        workers = [portal.bear() for _number in range(WORKERS)]
        for _time in range(times):
            for _ask in range(chance.randint(0, 2)):
                load.ask()
            time.sleep(chance.uniform(0.05, 1.2))  # when it dies is chance: that is the fault
            workers.pop(chance.randrange(WORKERS)).kill()
            workers.append(portal.bear())
        calm = time.monotonic()
        portal.wait(lambda: portal("live") == 0, 180, "everything has ended")
        took = time.monotonic() - calm
        operations = portal.settled()
        assert set(load.refused) <= REFUSALS, load.refused
        assert load.acknowledged <= {row[0] for row in operations}
        assert {row[3] for row in operations} <= NOBODYS_FAULT, operations
        takeovers = sum(row[5] for row in operations)
        print(f"{times} kills, {len(operations)} operations, {takeovers} takeovers, the last ended {took:.1f} s after")
        print(dict(Counter(row[1] for row in operations)))
        assert takeovers > times / 20
        assert took < REPAIRED_SECONDS + 15  # what waits behind others has its own work to do as well


@pytest.mark.timeout(1200)
def test_two_hundred_kills_of_workers_under_load_F2(tmp_path):
    kill_at_random(tmp_path, KILLS, 2)


@pytest.mark.nightly
@pytest.mark.timeout(4800)
def test_a_thousand_kills_of_workers_under_load_F2(tmp_path):
    kill_at_random(tmp_path, NIGHTLY_KILLS, 3)
