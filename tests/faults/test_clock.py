"""F15: the clock of a host jumps by an hour, either way, under work. Leases go by the database's clock."""

import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.faults.installation import Refused, installation

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("audited")]
HOUR = 3600
CALL_SECONDS = 0.4


class Clock:
    """The clock of all processes of a portal but its database's."""

    def __init__(self, home):
        self.file = home / "clock"
        self.file.write_bytes(struct.pack("=i", 0))
        library = home / "clock.so"
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["gcc", "-O", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "SLIPWAY_CLOCK_FILE": str(self.file)}

    def jump(self, seconds):
        with self.file.open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("=i", seconds))


@pytest.fixture
def clock():
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        yield Clock(Path(name))


@pytest.fixture
def portal(clock):
    with installation(clock.file.parent, postgres=True, more=clock.environment) as made:
        made("slow", CALL_SECONDS)
        yield made


def test_the_clock_is_really_off(portal, clock):
    clock.jump(HOUR)
    assert portal("clock") - time.time() == pytest.approx(HOUR, abs=60)
    clock.jump(-HOUR)
    assert portal("clock") - time.time() == pytest.approx(-HOUR, abs=60)


@pytest.mark.parametrize("jump", [HOUR, pytest.param(-HOUR, marks=pytest.mark.short)], ids=["forward", "back"])
def test_a_jump_under_work_expires_no_lease_and_loses_no_bell_F15(portal, clock, jump):
    first = portal("create", "v-1")
    portal.wait(lambda: portal("held"), 60, "a worker has begun")
    clock.jump(jump)
    portal.wait(lambda: portal("live") == 0, 60, "it has ended")
    second = portal("create", "v-2")
    portal.redis("flushall")  # its bell, perhaps: then it is found by looking
    portal.wait(lambda: portal("live") == 0, 60, "it has ended too")
    third = portal("create", "v-3")
    portal.wait(lambda: portal("held"), 60, "a worker has begun")
    portal.kill("worker")
    portal.start("worker")
    operations = {row[0]: row for row in portal.settled()}
    assert [operations[pk][2] for pk in (first, second, third)] == ["succeeded"] * 3
    assert [operations[pk][5] for pk in (first, second, third)] == [0, 0, 1]  # only the killed one was taken over
    assert set(portal("boots").values()) == {1}


@pytest.mark.parametrize("jump", [pytest.param(HOUR, marks=pytest.mark.short), -HOUR], ids=["forward", "back"])
def test_a_ticket_lives_thirty_seconds_of_the_databases_clock_F15(portal, clock, jump):
    portal("create", "v-1")
    portal.settled()
    good, old = portal("ticket", "v-1"), portal("ticket", "v-1")
    assert portal.postgres.sql("update vms_consoleticket set expires_at = now() - interval '1 second' "
                               f"where secret_hash = '{old[1]}' returning 1")  # fmt: skip
    clock.jump(jump)
    portal("redeem", "v-1", good[0])
    with pytest.raises(Refused, match="BAD_TICKET"):
        portal("redeem", "v-1", old[0])
    with pytest.raises(Refused, match="BAD_TICKET"):
        portal("redeem", "v-1", good[0])  # once


def test_what_is_overdue_ends_although_beat_stands_still_F15(portal, clock):
    """Set back by an hour, Celery's beat sends nothing for an hour; the node agent ends what is past its time."""
    portal.kill("worker")
    portal("create", "v-1")
    clock.jump(-HOUR)
    portal.postgres.sql("update vms_operation set deadline_at = now() - interval '1 second'")
    [row] = portal.wait(lambda: [row for row in portal("operations") if row[2] == "failed"], 60, "it was ended")
    assert row[3] == "node_away"
