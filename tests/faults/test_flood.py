"""F24: two thousand domains on libvirt's mock driver, and as many events a second as it gives, up to a thousand.

How long the node agent takes to catch up is told in its own processor time, because the machine may be busy.
"""

import os
import time
from pathlib import Path

import pytest

from tests.faults.installation import installation

pytestmark = pytest.mark.timeout(900)
DOMAINS = 2000
PER_SECOND, SECONDS = 1000, 20.0
CAUGHT_UP_SECONDS = 60.0  # of the agent's processor time
PATIENCE = 400.0


@pytest.fixture
def portal(home, host):
    uri = host.uri.replace("qemu+unix:///system", "test+unix:///default")
    with installation(home, libvirt_uri=uri) as made:
        yield made


def worked(portal):
    """Seconds that the agent's process has computed so far."""
    fields = Path(f"/proc/{portal.running['agent'].pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def caught_up(portal, what):
    """Wait until every machine is said to be what its domain is; return (seconds, the agent's processor seconds)."""
    began, before = time.monotonic(), worked(portal)
    portal.wait(lambda: portal("wrong") == 0, PATIENCE, what)
    return time.monotonic() - began, worked(portal) - before


def test_two_thousand_domains_and_a_thousand_events_a_second_F24(portal):
    portal("stock", DOMAINS)
    caught_up(portal, "all have been seen")
    before = worked(portal)
    made = portal("flood", SECONDS, PER_SECOND)
    print(f"{made / SECONDS:.0f} events a second for {SECONDS:.0f} s on {DOMAINS} domains")
    assert made > DOMAINS  # each of them, and again
    seconds, _computed = caught_up(portal, "what was seen is what is there")
    computed = worked(portal) - before
    print(f"all was true {seconds:.1f} s after the last event; the agent had computed for {computed:.1f} s")
    assert computed < CAUGHT_UP_SECONDS
    assert portal("node")[0]
    portal.wait(lambda: portal("breaches") == [], PATIENCE, "the audit is clean")
