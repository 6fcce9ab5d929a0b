"""F24: two thousand domains on libvirt's mock driver, and a thousand events a second."""

import time

import pytest

from tests.faults.installation import installation

pytestmark = pytest.mark.timeout(900)
DOMAINS = 2000
PER_SECOND, SECONDS = 1000, 20.0
CONVERGED_SECONDS = 60.0


@pytest.fixture
def portal(home, host):
    uri = host.uri.replace("qemu+unix:///system", "test+unix:///default")
    with installation(home, libvirt_uri=uri) as made:
        yield made


def test_two_thousand_domains_and_a_thousand_events_a_second_F24(portal):
    portal("stock", DOMAINS)
    portal.wait(lambda: portal("wrong") == 0, CONVERGED_SECONDS, "all have been seen")
    made = portal("flood", SECONDS, PER_SECOND)
    print(f"{made / SECONDS:.0f} events a second for {SECONDS:.0f} s on {DOMAINS} domains")
    assert made > DOMAINS  # each of them, and again
    ended = time.monotonic()
    portal.wait(lambda: portal("wrong") == 0, CONVERGED_SECONDS, "what was seen is what is there")
    print(f"all was true again {time.monotonic() - ended:.1f} s after the last event")
    assert portal("node")[0]
    portal.wait(lambda: portal("breaches") == [], 70, "the audit is clean")
