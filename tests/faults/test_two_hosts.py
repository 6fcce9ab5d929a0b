"""F10: of two hosts one falls silent and comes back: its machines are unknown, never stopped, never started twice."""

import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from tests.faults.conftest import BOOTED
from tests.faults.installation import Refused, installation
from tests.faults.private_host import PrivateHost

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("audited")]


@pytest.fixture
def second():
    """Folder and host of the second node."""
    folder = Path(tempfile.mkdtemp(prefix="sx-", dir="/tmp"))
    folder.chmod(0o711)
    with PrivateHost(folder) as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def portal(home, host, second):
    """One portal, two nodes, each with its own libvirtd, worker and agent."""
    shutil.copytree(home / "data/images", second.home / "data/images")
    with installation(home, libvirt_uri=host.uri) as made:
        made.of_node["b"] = {
            "SLIPWAY_NODE_NAME": "node-2",
            "SLIPWAY_LIBVIRT_URI": second.uri,
            "SLIPWAY_DATA_DIR": str(second.home / "data"),
        }
        for name in ("agent@b", "worker@b", "driver@b"):
            made.start(name)
        made.wait(lambda: made("nodes_synced") == 2, 120, "both nodes have compared")
        yield made


def silence(portal, host, number):
    """Stop, or let go on, everything of the second node: to the others that is a cable that was pulled."""
    for name in ("agent@b", "worker@b"):
        portal.signal(name, number)
    host.signal(number, "libvirtd -d")


def test_a_host_that_falls_silent_and_comes_back_F10(portal, host, second):
    for number in range(4):
        portal("create", f"v-{number}")
        portal.wait(lambda: portal("live") == 0, BOOTED, "the machine runs")
    places = portal("places")
    there = sorted(name for name, (node, *_rest) in places.items() if node == "node-2")
    here = sorted(set(places) - set(there))
    assert there
    assert here
    machines = portal("machines")
    pids = {name: second.pids("qemu-system", machines[name][0]) for name in there}
    assert all(len(found) == 1 for found in pids.values())

    silence(portal, second, signal.SIGSTOP)
    asked = portal("ask", "pause", there[0])
    portal.wait(lambda: all(portal("places")[name][1] == "unknown" for name in there), 150, "they are unknown")
    assert all(portal("places")[name][1] == "running" for name in here)
    assert {name: portal("machines")[name][1:3] for name in there[1:]} == {
        name: ["running", "running"] for name in there[1:]
    }
    with pytest.raises(Refused):  # it runs, for all that anybody knows
        portal("ask", "start", there[-1] if len(there) > 1 else there[0])
    portal("create", "v-new")
    portal.wait(lambda: portal("machines")["v-new"][2] == "running", BOOTED, "the other node takes new ones")
    assert portal("places")["v-new"][0] == "node-1"
    assert not any(host.pids("qemu-system", machines[name][0]) for name in there)  # nobody starts them elsewhere

    # what is asked of the silent node has its time: it ends with a reason, and is not done late either
    portal.wait(lambda: portal("live") == 0, 180, "what waited has ended")
    assert [row[2:4] for row in portal("operations") if row[0] == asked] == [["failed", "node_away"]]

    silence(portal, second, signal.SIGCONT)
    portal.wait(lambda: all(portal("places")[name][1] == "running" for name in there), 90, "they are back")
    assert {name: second.pids("qemu-system", machines[name][0]) for name in there} == pids  # the very same processes
    assert [row[3] for row in portal("operations") if row[3]] == ["node_away"]
    for name in portal("machines"):
        portal("ask", "delete", name)
    portal.wait(lambda: portal("machines") == {}, 120, "all are gone")
    assert not any(Path(f"/proc/{pid}").exists() for found in pids.values() for pid in found)
