"""The rules over states, as tables."""

from datetime import UTC, datetime, timedelta

import pytest

from vms.operations.handlers import HANDLERS
from vms.states import (
    ATTENTION,
    DESIRED_AFTER,
    ENDED,
    LEGAL_FROM,
    OPERATION_TRANSITIONS,
    PREEMPTS,
    Facts,
    ObservedState,
    OperationKind,
    OperationStatus,
    Status,
    attention_rank,
    display_status,
    may_begin,
)
from vms.steps import DEADLINE_SECONDS, STEPS, progress_of, steps_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
AWAY_AFTER = timedelta(seconds=75)
FRESH = NOW - timedelta(seconds=10)


def shown(desired="running", observed="running", reason="", live="", synced=FRESH):
    return display_status(Facts(desired, observed, reason, live, synced), NOW, AWAY_AFTER)


@pytest.mark.parametrize("observed", ObservedState.values)
def test_a_fresh_observation_is_shown_as_it_is(observed):
    assert shown(observed=observed) == (observed, "")


@pytest.mark.parametrize("synced", [None, NOW - timedelta(seconds=76)])
@pytest.mark.parametrize("observed", ObservedState.values)
def test_a_stale_observation_is_never_shown_as_fresh(observed, synced):
    assert shown(observed=observed, synced=synced) == (Status.UNKNOWN, "node_away")


def test_the_last_moment_before_a_node_counts_as_away():
    assert shown(synced=NOW - AWAY_AFTER) == (Status.RUNNING, "")


def test_work_under_way_is_told_from_what_was_seen():
    assert shown(observed="absent", live="create", synced=None) == (Status.CREATING, "")
    assert shown(observed="running", live="stop") == (Status.RUNNING, "")
    assert shown(desired="deleted", observed="running", live="delete") == (Status.DELETING, "")


@pytest.mark.parametrize("reason", ["io_error", "storage_missing", "create_failed"])
def test_trouble_is_an_error_with_its_reason(reason):
    assert shown(observed="paused", reason=reason) == (Status.ERROR, reason)


def test_a_delete_that_failed_does_not_pretend_to_go_on():
    assert shown(desired="deleted", reason="delete_failed") == (Status.ERROR, "delete_failed")


def test_trouble_comes_first_and_idle_machines_last():
    def rank(**kwargs):
        facts = {
            "desired_state": "running",
            "observed_state": "running",
            "reason": "",
            "node_synced_at": FRESH,
        }
        return attention_rank(Facts(**(facts | kwargs)), NOW, AWAY_AFTER)

    order = [
        rank(observed_state="crashed"),
        rank(reason="io_error"),
        rank(node_synced_at=None),
        rank(observed_state="stopped", live_kind="start"),
        rank(),
        rank(observed_state="stopped"),
    ]
    assert order == sorted(order)
    assert len(set(order)) == len(order)


def test_every_status_has_a_rank():
    assert set(ATTENTION) == set(Status)


@pytest.mark.parametrize("ended", ENDED)
def test_an_end_is_final(ended):
    assert OPERATION_TRANSITIONS[ended] == frozenset()


def test_every_transition_is_between_known_states():
    assert set(OPERATION_TRANSITIONS) == set(OperationStatus)
    assert frozenset().union(*OPERATION_TRANSITIONS.values()) <= set(OperationStatus)


def test_delete_takes_the_place_of_everything_but_itself():
    assert PREEMPTS[OperationKind.DELETE] == frozenset(OperationKind.values) - {OperationKind.DELETE}


@pytest.mark.parametrize(
    ("kind", "observed", "live", "allowed"),
    [
        ("start", "stopped", "", True),
        ("start", "running", "", False),
        ("stop", "running", "", True),
        ("stop", "stopped", "", False),
        ("force_off", "running", "stop", True),
        ("force_off", "running", "reboot", True),
        ("force_off", "running", "pause", False),
        ("start", "stopped", "resize", False),
        ("resize", "running", "", False),
        ("resume", "paused", "", True),
        ("delete", "absent", "create", True),
        ("delete", "running", "delete", False),
    ],
)
def test_which_verb_is_legal_when(kind, observed, live, allowed):
    assert may_begin(kind, observed, live) is allowed


def test_every_kind_has_steps_a_deadline_and_legal_states():
    assert set(STEPS) == set(DEADLINE_SECONDS) == set(LEGAL_FROM) == set(OperationKind)
    assert set(DESIRED_AFTER) <= set(OperationKind)


def test_every_step_has_a_handler_and_every_handler_a_step():
    assert {step.name for steps in STEPS.values() for step in steps} == set(HANDLERS)


@pytest.mark.parametrize("kind", OperationKind.values)
def test_a_step_is_named_once_in_an_operation(kind):
    names = [step.name for step in steps_of(kind)]
    assert len(names) == len(set(names))


def test_a_create_that_leaves_the_machine_off_does_not_start_it():
    assert [step.name for step in steps_of("create", starts=False)] == ["address", "disk", "seed", "domain"]


def test_progress_counts_finished_steps():
    assert progress_of("create", "address") == 0
    assert progress_of("create", "agent") == 83
    assert progress_of("create", "no such step") == 0
