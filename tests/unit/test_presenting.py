"""Figures, gauges and operations in words."""

from datetime import timedelta

import pytest
from django.utils import timezone, translation

from vms.models import Node, Operation
from vms.presenting import amounts
from vms.presenting.gauges import Gauge, gauges, tightest
from vms.presenting.operations import OperationCard
from vms.presenting.sentences import CAME_TRUE, DOING, DONE, FAILED
from vms.states import OperationKind
from vms.steps import STEPS


def plain(text):
    return str(text).replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("mib", "said"), [(0, "0 MiB"), (512, "512 MiB"), (1024, "1 GiB"), (1536, "1.5 GiB"), (64000, "62.5 GiB")]
)
def test_memory_is_said_in_the_unit_that_people_use(mib, said):
    assert plain(amounts.mib(mib)) == said


def test_figures_follow_the_language():
    with translation.override("fr"):
        assert plain(amounts.figure(62.5)) == "62,5"


@pytest.mark.parametrize(
    ("used", "limit", "tone", "left"),
    [
        (3, 10, "", "7 left"),
        (9, 10, "sw-near", "1 left"),
        (10, 10, "sw-full", "None left"),
        (12, 10, "sw-full", "2 over the limit: nothing is stopped, only growth refused"),
        (0, 0, "", "None allowed"),
        (5, None, "", "No limit"),
    ],
)
def test_a_gauge_says_how_it_stands(used, limit, tone, left):
    gauge = Gauge("vms", used, limit)
    assert (gauge.tone, plain(gauge.left_text)) == (tone, left)


def test_a_bar_never_leaves_its_track_and_splits_off_what_is_switched_off():
    parts = Gauge("vcpus", 30, 20, running=10).parts
    assert [(part.kind, part.start, part.width) for part in parts] == [
        ("used", "0%", "50.00%"),
        ("alt", "50.00%", "50.00%"),
    ]
    assert Gauge("vcpus", 5, None).parts == ()


def test_the_tightest_gauge_runs_out_first():
    found = gauges({"vms": 1, "vcpus": 9, "memory_mib": 10}, {"vms": 10, "vcpus": 10, "memory_mib": 1024})
    assert tightest(found).dimension == "vcpus"
    assert tightest([Gauge("vms", 1, None)]) is None


def operation(kind, step="", **values):
    moment = timezone.now()
    return Operation(kind=kind, vm_name="web-1", step=step, created_at=moment, node=Node(name="node-1"), **values)


@pytest.mark.parametrize("kind", OperationKind.values)
def test_every_kind_has_its_words_and_its_steps(kind):
    for words in (DOING, DONE, FAILED, CAME_TRUE):
        assert str(words[kind])
    for step in STEPS[kind]:
        card = OperationCard(operation(kind, step.name, status="running", attempt=1))
        states = [line.state for line in card.steps]
        assert states.count("now") == 1
        assert states == sorted(states, key=["done", "now", "todo"].index)
        assert len(card.segments) == len(states)


def test_a_failure_stands_at_its_step():
    card = OperationCard(operation("create", "disk", status="failed", error_detail="No room.", attempt=2))
    failed = [line for line in card.steps if line.state == "fail"]
    assert [(plain(line.label), line.why) for line in failed] == [("Preparing the disk", "No room.")]
    assert [line.state for line in card.steps][-1] == "todo"
    assert plain(card.title) == "Create failed"


def test_a_retry_says_which_attempt_it_is():
    card = OperationCard(operation("start", "running", status="running", attempt=3, step_at=timezone.now()))
    assert next(line.why for line in card.steps if line.state == "now") == "Attempt 3."


def test_only_a_guest_that_was_asked_has_a_countdown(settings):
    moment = timezone.now()
    asked = OperationCard(operation("stop", "stopped", status="running", attempt=1, step_at=moment))
    assert asked.gives_up_at == moment + settings.STOP_WAIT
    assert OperationCard(operation("stop", "ask_stop", status="running", attempt=1)).gives_up_at is None


def test_a_clock_that_ran_backwards_gives_no_negative_time():
    card = OperationCard(operation("stop", "stopped", status="succeeded"))
    card.operation.finished_at = card.operation.created_at - timedelta(seconds=3)
    assert card.seconds == 0.0


@pytest.mark.parametrize(
    ("ago", "said"), [({"seconds": 5}, "under a minute"), ({"minutes": 3}, "3 minutes"), ({"days": 2}, "2 days")]
)
def test_a_span_is_said_in_its_largest_unit(ago, said):
    now = timezone.now()
    assert plain(amounts.span(now - timedelta(**ago), now)) == said
