"""What all tests on the running portal leave behind, those of the system too: the last file by its name."""

import time

SECONDS = 90  # operations of other tests may still be ending


def test_the_invariants_hold_after_all_of_it(live):
    deadline = time.monotonic() + SECONDS
    while (audit := live.manage("audit", check=False)).returncode != 0:
        assert time.monotonic() < deadline, audit.stdout + audit.stderr
