"""F22: two processes ask for two things of one machine at the same moment, for every pair of verbs."""

import tempfile
import time
from itertools import combinations_with_replacement
from pathlib import Path

import pytest

from tests.faults.installation import Refused, installation
from tests.portal.lab import SANDBOX_KINDS
from vms.states import LEGAL_FROM, PREEMPTS

pytestmark = pytest.mark.timeout(600)
KINDS = sorted(set(LEGAL_FROM) - SANDBOX_KINDS - {"create"})  # all that is asked of a machine that is there
CASES = [
    (pair, state)
    for pair in combinations_with_replacement(KINDS, 2)
    for state in sorted(LEGAL_FROM[pair[0]] & LEGAL_FROM[pair[1]])
]
AHEAD_SECONDS = 0.06


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.short)])
def portal(request):
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        with installation(Path(name), postgres=request.param == "postgresql") as made:
            for process in ("worker", "agent", "beat"):  # nobody carries anything out
                made.kill(process)
            made.start("driver@2")
            yield made


def asked_together(portal, name, pair):
    """Return what each of the two was told: an operation's id, or the refusal's name."""
    moment = time.time() + AHEAD_SECONDS
    drivers = ("driver", "driver@2")
    for driver, verb in zip(drivers, pair, strict=True):
        portal.say(driver, "ask_at", verb, name, moment)
    answers = []
    for driver in drivers:
        try:
            answers.append(portal.hear(driver))
        except Refused as refusal:
            answers.append(str(refusal).partition(":")[0])
    return answers


def test_of_every_two_verbs_one_is_admitted_in_every_state_that_both_may_begin_in_F22(portal):
    for tried, (pair, state) in enumerate(CASES):
        name = f"v-{tried}"
        portal("create", name)
        portal("pretend", name, state)
        answers = asked_together(portal, name, pair)
        refused = [answer for answer in answers if answer in ("OperationInProgress", "InvalidState")]  # both 409
        rows = portal("live_of", name)
        live = [kind for kind, status, _code in rows if status == "pending"]
        preempted = [kind for kind, _status, code in rows if code == "preempted"]
        assert len(live) == 1, (pair, state, answers, rows)
        if "delete" in pair:
            assert live == ["delete"], (pair, state, answers, rows)
        if pair == ("delete", "delete"):
            assert answers[0] == answers[1]
        else:
            assert len(refused) + len(preempted) == 1, (pair, state, answers, rows)
            assert all(kind in PREEMPTS[live[0]] for kind in preempted), (pair, state, rows)
    everything_is_deleted(portal)


def everything_is_deleted(portal):
    """Let those come that carry things out, and see that what was asked for twice leaves nothing behind."""
    for name, (_uuid, desired, *_seen) in portal("machines").items():
        if desired != "deleted":
            portal("ask", "delete", name)
    for process in ("worker", "agent", "beat"):
        portal.start(process)
    portal.wait(lambda: portal("machines") == {}, 240, "all are gone")
    portal.audit()


@pytest.mark.short
def test_every_pair_of_kinds_and_every_common_state_is_a_case():
    assert {kind for pair, _state in CASES for kind in pair} == set(KINDS)
    assert {"start", "stop", "force_off", "reboot", "pause", "resume", "resize", "delete"} <= set(KINDS)
    assert len(CASES) > 30
