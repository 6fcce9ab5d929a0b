"""F2, F3 on real processes: workers die, agent and beat too, messages come twice; nothing acknowledged is lost."""

import random
import time

import pytest

from tests.faults.conftest import CALL_SECONDS
from tests.pace import in_time

pytestmark = pytest.mark.timeout(600)
REPAIRED_SECONDS, LEASE_AND_BELL = 30.0, 20.0


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.long)])
def test_a_killed_worker_is_taken_over_within_30_seconds_F2(on_fake, ours, times):
    chance = random.Random(times)
    for _time in range(times):
        for _each in range(3):
            on_fake("create", ours.name())
        on_fake.wait(lambda: on_fake("held"), 60, "a worker has begun")
        time.sleep(chance.uniform(0, 1.5))  # when it dies is chance: that is the fault
        on_fake.kill("worker")
        began = time.monotonic()
        on_fake.start("worker")
        on_fake.wait(lambda: on_fake("live") == 0, 120, "the operations have ended")
        in_time(
            "from SIGKILL of a worker to the end of all", time.monotonic() - began, REPAIRED_SECONDS, LEASE_AND_BELL
        )
    operations = ours.settled()
    assert {tuple(row[1:3]) for row in operations} == {("create", "succeeded")}
    assert any(row[5] for row in operations)
    assert set(on_fake("boots").values()) == {1}


def test_sixteen_deliveries_and_a_late_one_have_one_effect_F3(on_fake, ours):
    name = ours.name()
    operation = on_fake("create", name)
    on_fake("ring", operation, 16)
    on_fake.wait(lambda: on_fake("live") == 0, 60, "the create has ended")
    on_fake("ring", operation, 4)
    stop = on_fake("ask", "stop", name)
    on_fake("ring", operation, 4)
    on_fake("ring", stop, 4)
    assert [(kind, status, attempt) for _id, kind, status, _code, attempt, *_rest in ours.settled()] == [
        ("create", "succeeded", 1),
        ("stop", "succeeded", 1),
    ]
    assert set(on_fake("boots").values()) == {1}


def test_messages_that_are_sent_again_to_four_workers_have_one_effect_F3(on_fake, ours):
    """By a broker that waits 4 s for each, while the work takes longer."""
    on_fake.kill("worker")
    again = on_fake.home / "again"
    again.unlink(missing_ok=True)
    workers = [on_fake.bear(threads=2, impatient=again) for _number in range(4)]
    on_fake("slow", 3 * CALL_SECONDS)
    operations = {on_fake("create", ours.name()) for _number in range(8)}
    on_fake.wait(lambda: on_fake("live") == 0, 120, "all have ended")
    on_fake("slow", CALL_SECONDS)
    assert {(row[0], *row[1:3], row[4]) for row in ours.settled()} == {
        (operation, "create", "succeeded", 1) for operation in operations
    }
    assert set(on_fake("boots").values()) == {1}
    sent_again = again.read_text().split()
    assert set(sent_again) & operations
    print(f"{len(sent_again)} messages of {len(operations)} operations came again")
    for worker in workers:
        worker.kill()


def test_agent_and_beat_die_too_and_the_bells_with_them_F2(on_fake, ours):
    for name in ("agent", "beat", "worker"):
        on_fake.kill(name)
    on_fake.redis("flushall")
    on_fake("create", ours.name())
    for name in ("worker", "agent"):
        on_fake.start(name)
    assert ours.ends() == [("create", "succeeded")]
