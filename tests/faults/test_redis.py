"""F4 on real processes: Redis forgets, dies, hangs, is full. Asking and looking go on, nothing acknowledged is lost.

An outage lasts seconds in the usual run, a minute with -m faults, five in a nightly one; the assertions are the same.
"""

import signal
import time

import pytest

from tests.pace import in_time

on_postgresql = [pytest.param("postgresql", marks=pytest.mark.short)]
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.parametrize("on_fake", on_postgresql, indirect=True, scope="module"),
]
REPAIRED_SECONDS = 30.0
ANSWERED_SECONDS = 2.0  # by web, while Redis is away
MACHINES = 4
OUTAGES = [
    pytest.param(12.0, id="12s"),
    pytest.param(65.0, id="65s", marks=pytest.mark.long),
    pytest.param(300.0, id="300s", marks=pytest.mark.nightly),
]


@pytest.fixture
def begin_and_end(request, on_fake):
    """What makes Redis useless, and what mends it."""

    def signalled(number):
        return lambda: on_fake.signal("redis", number)

    def memory(most):
        return lambda: on_fake.redis("config", "set", "maxmemory", most)

    return {
        "killed": (lambda: on_fake.kill("redis"), lambda: on_fake.start("redis")),
        "stopped": (signalled(signal.SIGSTOP), signalled(signal.SIGCONT)),
        "full": (memory("1"), memory("0")),
    }[request.param]


def test_redis_forgets_everything_F4(on_fake, ours):
    for _number in range(6):
        on_fake("create", ours.name())
        on_fake.redis("flushall")
    assert ours.ends() == [("create", "succeeded")] * 6


@pytest.mark.parametrize("seconds", OUTAGES)
@pytest.mark.parametrize("begin_and_end", ["killed", "stopped", "full"], indirect=True)
def test_redis_is_of_no_use_for_a_while_F4_F11(on_fake, ours, begin_and_end, seconds):
    """What is asked for meanwhile is acknowledged without it and ends later; what is there can be looked at."""
    begin, end = begin_and_end
    on_fake("get", "vms")  # what a first request costs is not what is timed
    begin()
    began, slowest = time.monotonic(), 0.0
    for number in range(MACHINES):
        name = ours.name()
        asked = time.monotonic()
        on_fake("create", name)  # acknowledged without it
        assert time.monotonic() - asked < 20
        assert on_fake("live") >= 1
        slowest = max(slowest, *(looked(on_fake, path) for path in ("vms", f"vms/{on_fake('vm', name)[0]}", "me")))
        time.sleep(max(0.0, began + (number + 1) * seconds / MACHINES - time.monotonic()))  # that it lasts is the fault
    end()
    back = time.monotonic()
    on_fake.wait(lambda: on_fake("live") == 0, 120, "all have ended")
    in_time(
        f"from the return of Redis after {seconds:.0f} s to the end of all", time.monotonic() - back, REPAIRED_SECONDS
    )
    in_time("the slowest GET meanwhile", slowest, ANSWERED_SECONDS)
    assert ours.ends() == [("create", "succeeded")] * MACHINES
    assert set(on_fake("boots").values()) == {1}


def looked(portal, path):
    """Return how long a GET took that has to be answered."""
    began = time.monotonic()
    assert portal("get", path) == 200
    return time.monotonic() - began
