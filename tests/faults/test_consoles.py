"""F14: web and gateway end and begin again under fifty open consoles, which come back by themselves."""

import signal

import pytest

from tests.faults.clients import Crowd, SerialPorts, descriptors, timed
from tests.faults.installation import installation
from tests.pace import in_time

pytestmark = pytest.mark.timeout(600)
MACHINES, PEOPLE, CONSOLES_EACH = 5, 10, 5
BACK_SECONDS = 5.0


SIGNALS = pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.short)], ids=["SIGTERM", "SIGKILL"]
)


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    with installation(tmp_path_factory.mktemp("c")) as made:
        made.start("gateway")
        made.start("web")
        yield made


@pytest.fixture(scope="module")
def machines(portal):
    """Ids of running machines whose serial sockets answer."""
    ports = SerialPorts(portal.home / "data/sock")
    for number in range(MACHINES):
        portal("create", f"v-{number}")
    portal.settled()
    found = [portal("vm", f"v-{number}")[:2] for number in range(MACHINES)]
    for _pk, uuid in found:
        ports.open(uuid)
    yield [pk for pk, _uuid in found]
    ports.close()


@pytest.fixture(scope="module")
def tokens(portal):
    return [portal("token", f"person-{number}") for number in range(PEOPLE)]


@pytest.fixture
def crowd(portal, machines, tokens):
    """Fifty consoles, all open."""
    with Crowd(f"http://127.0.0.1:{portal.port}") as made:
        fill(made, portal, machines, tokens)
        yield made


def fill(crowd, portal, machines, tokens):
    for token in tokens:
        for vm in machines[:CONSOLES_EACH]:
            crowd.add(vm, token)
    portal.wait(lambda: crowd.all_there, 60, "all consoles are open")


def end(portal, name, number):
    """End a process by a signal, as a restart does it."""
    if number == signal.SIGKILL:
        portal.kill(name)
        return
    portal.running[name].send_signal(number)
    portal.running[name].wait(20)
    portal.running.pop(name)


@SIGNALS
def test_consoles_come_back_after_their_gateway_F14(portal, crowd, number):
    opened = crowd.opened
    operation = portal("ask", "reboot", "v-0")
    end(portal, "gateway", number)
    portal.wait(lambda: not any(person.there for person in crowd.people), 20, "all consoles are cut")
    portal.start("gateway")
    with timed() as took:
        portal.wait(lambda: crowd.all_there, 30, "all consoles are back")
    assert crowd.opened - opened == len(crowd.people)  # once each, with a ticket of its own
    in_time(f"{len(crowd.people)} consoles are back after their gateway listened", took[0], BACK_SECONDS)
    assert next(row[2] for row in portal.settled() if row[0] == operation) == "succeeded"


@SIGNALS
def test_consoles_stay_while_the_web_process_is_away_F14(portal, crowd, number):
    opened, gateway = crowd.opened, portal.running["gateway"].pid
    end(portal, "web", number)
    operation = portal("ask", "reboot", "v-1")
    assert next(row[2] for row in portal.settled() if row[0] == operation) == "succeeded"
    assert crowd.all_there
    portal.start("web")
    assert crowd.opened == opened
    assert portal.running["gateway"].pid == gateway


def test_consoles_that_come_and_go_leave_no_descriptor_behind_F14(portal, machines, tokens):
    gateway = portal.running["gateway"].pid

    def rounds(times):
        for _time in range(times):
            with Crowd(f"http://127.0.0.1:{portal.port}") as crowd:
                fill(crowd, portal, machines, tokens)
                assert descriptors(gateway) > PEOPLE * CONSOLES_EACH
        portal.wait(lambda: portal("consoles") == 0, 30, "all consoles have ended")
        return descriptors(gateway)

    first = rounds(1)
    assert rounds(3) <= first + 2  # threads that look into the database open and close connections
