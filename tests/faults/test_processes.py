"""F2, F3, F4, F25 on real processes: workers and Redis die, hang, forget; nothing acknowledged is lost."""

import random
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tests.faults.installation import installation

pytestmark = pytest.mark.timeout(600)
CALL_SECONDS = 0.15  # of the fake hypervisor: a create takes some two seconds
REPAIRED_SECONDS = 30.0
OUTAGE_SECONDS = 65.0


@pytest.fixture
def open_home():
    """A folder that the server's user may pass through: every pytest that starts shuts its own to others."""
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def portal(open_home, request):
    with installation(open_home, postgres=getattr(request, "param", "") == "postgresql") as made:
        made("slow", CALL_SECONDS)
        yield made


on_both = pytest.mark.parametrize("portal", ["sqlite", "postgresql"], indirect=True)


def statuses(operations):
    return [(kind, status) for _id, kind, status, *_rest in operations]


@on_both
def test_a_killed_worker_is_taken_over_within_30_seconds_F2(portal):
    chance = random.Random(1)
    for number in range(4):
        portal("create", f"v-{number}")
        portal.wait(lambda: portal("held"), 60, "a worker has begun")
        time.sleep(chance.uniform(0, 1.5))  # when it dies is chance: that is the fault
        portal.kill("worker")
        portal.start("worker")
        began = time.monotonic()
        portal.wait(lambda: portal("live") == 0, 120, "the operation has ended")
        assert time.monotonic() - began < REPAIRED_SECONDS + 30  # a worker's start on a busy machine on top
    operations = portal.settled()
    assert statuses(operations) == [("create", "succeeded")] * 4
    assert any(takeovers for *_row, takeovers, _seconds in operations)
    assert set(portal("boots").values()) == {1}


@on_both
def test_sixteen_deliveries_and_a_late_one_have_one_effect_F3(portal):
    operation = portal("create", "v-1")
    portal("ring", operation, 16)
    portal.wait(lambda: portal("live") == 0, 60, "the create has ended")
    portal("ring", operation, 4)
    stop = portal("ask", "stop", "v-1")
    portal("ring", operation, 4)
    portal("ring", stop, 4)
    assert [(kind, status, attempt) for _id, kind, status, _code, attempt, *_rest in portal.settled()] == [
        ("create", "succeeded", 1),
        ("stop", "succeeded", 1),
    ]
    assert set(portal("boots").values()) == {1}


@on_both
def test_redis_forgets_everything_F4(portal):
    for number in range(6):
        portal("create", f"v-{number}")
        portal.redis("flushall")
    assert statuses(portal.settled()) == [("create", "succeeded")] * 6


def outage(portal, begin, end, seconds):
    """Ask for four machines while Redis does not work; return how long it took until they ran after its return."""
    begin()
    began = time.monotonic()
    for number in range(4):
        asked = time.monotonic()
        portal("create", f"v-{number}")  # acknowledged without it
        assert time.monotonic() - asked < 20
        assert portal("live") >= 1
        time.sleep(max(0.0, began + (number + 1) * seconds / 4 - time.monotonic()))  # that it lasts is the fault
    end()
    back = time.monotonic()
    portal.wait(lambda: portal("live") == 0, 120, "all have ended")
    took = time.monotonic() - back
    assert statuses(portal.settled()) == [("create", "succeeded")] * 4
    assert set(portal("boots").values()) == {1}
    return took


def test_redis_dies_and_comes_back_after_a_minute_F4(portal):
    took = outage(portal, lambda: portal.kill("redis"), lambda: portal.start("redis"), OUTAGE_SECONDS)
    assert took < REPAIRED_SECONDS


def test_redis_stands_still_for_a_minute_F4_F11(portal):
    def signalled(number):
        return lambda: portal.signal("redis", number)

    assert outage(portal, signalled(signal.SIGSTOP), signalled(signal.SIGCONT), OUTAGE_SECONDS) < REPAIRED_SECONDS


def test_redis_is_full_F4(portal):
    def memory(most):
        return lambda: portal.redis("config", "set", "maxmemory", most)

    assert outage(portal, memory("1"), memory("0"), 12.0) < REPAIRED_SECONDS


def test_agent_and_beat_die_too_and_the_bells_with_them_F2(portal):
    for name in ("agent", "beat", "worker"):
        portal.kill(name)
    portal.redis("flushall")
    portal("create", "v-1")
    for name in ("worker", "agent"):
        portal.start(name)
    assert statuses(portal.settled(120)) == [("create", "succeeded")]


@pytest.mark.parametrize("portal", ["postgresql"], indirect=True)
def test_an_older_worker_and_a_newer_schema_with_operations_in_flight_F25(portal):
    """The database is ahead: columns that this version does not know, and an operation at a step of tomorrow's."""
    first = portal("create", "v-1")
    portal.wait(lambda: portal("held"), 60, "a worker has begun")
    for table in ("vms_operation", "vms_virtualmachine"):  # expand: with a default in the database, as ours all have
        portal.postgres.sql(f"alter table {table} add column of_tomorrow varchar(9) not null default 'x'")
    portal.wait(lambda: portal("live") == 0, 60, "what was in flight has ended")
    portal.kill("worker")
    second = portal("create", "v-2")
    portal.postgres.sql(f"update vms_operation set step = 'of_tomorrow' where id = '{second}'")
    portal.start("worker")
    third = portal("create", "v-3")
    portal.wait(lambda: portal("live") == 1, 60, "the others go on")
    [parked] = [row for row in portal("operations") if row[0] == second]
    assert parked[2:4] == ["pending", ""]  # left to a newer worker, and not failed
    portal.postgres.sql(f"update vms_operation set step = '' where id = '{second}'")  # which comes
    ends = {row[0]: row[2] for row in portal.settled()}
    assert ends == dict.fromkeys((first, second, third), "succeeded")


@pytest.mark.parametrize("portal", ["postgresql"], indirect=True)
def test_a_newer_worker_on_an_older_schema_loses_nothing_F25(portal):
    """The worker is there before the migration: what it cannot read waits until it can."""
    portal.kill("worker")
    first = portal("create", "v-1")
    portal.postgres.sql("alter table vms_operation rename column takeovers to of_yesterday")
    portal.start("worker")
    portal.wait(lambda: "takeovers" in portal.log("worker"), 90, "the worker has met the older schema")
    assert portal.postgres.sql(f"select status from vms_operation where id = '{first}'") == "pending"
    portal.postgres.sql("alter table vms_operation rename column of_yesterday to takeovers")
    second = portal("create", "v-2")
    assert {row[0]: row[2] for row in portal.settled(120)} == dict.fromkeys((first, second), "succeeded")
    assert set(portal("boots").values()) == {1}
