"""Lists: pages, limits, filters."""

from itertools import product

import pytest
from django.utils import timezone

from tests.portal.answers import ok, refused
from vms import queries
from vms.models import Node, VirtualMachine
from vms.states import Status, display_status


@pytest.fixture
def alice(world):
    return world.api("alice")


def test_lists_are_paged_by_cursor(world, alice, settings):
    settings.PERSONAL_QUOTA = dict.fromkeys(settings.PERSONAL_QUOTA)
    from accounts.models import QuotaLimit

    QuotaLimit.objects.update(limit=None)
    names = [f"web-{n}" for n in range(7)]
    for name in names:
        world.vm(name, drain=False)
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        found = ok(alice.call("GET", f"vms?limit=3&cursor={cursor}"))
        assert set(found) == {"items", "next"}
        seen += [item["name"] for item in found["items"]]
        cursor, pages = found["next"], pages + 1
    assert (seen, pages) == (names, 3)


@pytest.mark.parametrize("path", ["vms", "flavors", "images", "tokens", "projects/harbor/members"])
def test_every_list_caps_its_limit_and_knows_its_cursors_a18(world, alice, path):
    for limit in ("1000000000", "101", "99999999999999999999999"):
        assert ok(alice.call("GET", f"{path}?limit={limit}"))["items"] is not None
    for bad in ("limit=0", "limit=-1", "limit=ten", "limit=1.5", "limit=", "limit=%D9%A1%D9%A2%D9%A3%D9%A4x"):
        assert list(refused(alice.call("GET", f"{path}?{bad}"), 422, "invalid")["fields"]) == ["limit"]
    for bad in ("x", "!!!!", "W10", "WyJ4Il0", "e30", "bnVsbA", "WzEsMiwzLDRd", "x" * 501, "WyJcdTAwMDAiXQ"):
        assert list(refused(alice.call("GET", f"{path}?cursor={bad}"), 422, "invalid")["fields"]) == ["cursor"]


def test_the_limit_is_never_more_than_100_a18(world, alice, monkeypatch):
    asked = []
    monkeypatch.setattr(queries, "with_details", lambda rows: asked.append(1) or rows.none())
    ok(alice.call("GET", "vms?limit=1000000000"))
    assert asked
    assert queries.PAGE_LIMIT == 100


def test_the_list_of_machines_costs_the_same_for_any_number(world, alice, django_assert_max_num_queries):
    for n in range(3):
        world.vm(f"web-{n}")
    with django_assert_max_num_queries(8):
        ok(alice.call("GET", "vms"))


def test_filters_of_the_list(world, alice):
    world.vm("web-1")
    world.vm("web-2", start=False)
    world.vm("db-1", drain=False)
    world.vm("mine", project="alice", drain=False)

    def names(query):
        return {item["name"] for item in ok(alice.call("GET", f"vms?{query}"))["items"]}

    assert names("") == {"web-1", "web-2", "db-1", "mine"}
    assert names("search=web") == {"web-1", "web-2"}
    assert names("search=10.71.0.3") == {"web-2"}
    assert names("project=harbor") == {"web-1", "web-2", "db-1"}
    assert names(f"project={world.harbor.pk}&search=db") == {"db-1"}
    assert names("status=running") == {"web-1"}
    assert names("status=running&status=creating") == {"web-1", "db-1", "mine"}
    assert names("search=%00web") == {"web-1", "web-2"}
    assert list(refused(alice.call("GET", "vms?status=on"), 422, "invalid")["fields"]) == ["status.0"]


def test_a_filter_does_not_tell_a_foreign_project_from_none_a4(world):
    world.vm()
    charlie = world.api("charlie")
    answers = {
        charlie.call("GET", f"vms?project={ref}").content
        for ref in ("harbor", str(world.harbor.pk), "nowhere", "b3e2a4a0-3f7f-4d6a-9a4e-0d6f2f9d5a11")
    }
    assert len(answers) == 1
    assert ok(charlie.call("GET", "vms"))["items"] == []
    assert ok(charlie.call("GET", "vms?search=web"))["items"] == []


def test_staff_see_everybodys_machines(world):
    world.vm()
    assert [item["name"] for item in ok(world.api("admin").call("GET", "vms"))["items"]] == ["web-1"]


@pytest.mark.parametrize("creating", [False, True])
def test_the_status_filter_is_the_status_that_is_shown(world, settings, creating):
    """Every combination of facts: the database finds a row under the status that people see, and no other."""
    vm = world.vm(drain=not creating)
    reasons = ("", "io_error", "storage_missing", "domain_missing")
    failures = ("", "create_failed", "delete_failed", "guest_timeout")
    states = ("running", "stopped", "paused", "suspended", "crashed", "absent")
    now = timezone.now()
    for desired, observed, reason, failure, away in product(
        ("running", "deleted"), states, reasons, failures, (False, True)
    ):
        Node.objects.update(synced_at=now - settings.NODE_AWAY_AFTER * (2 if away else 0))
        VirtualMachine.objects.filter(pk=vm.pk).update(
            desired_state=desired, observed_state=observed, observed_reason=reason, failure=failure
        )
        row = VirtualMachine.objects.select_related("node").get(pk=vm.pk)
        shown, _reason = display_status(row.facts("create" if creating else ""), now, settings.NODE_AWAY_AFTER)
        found = [s for s in Status.values if VirtualMachine.objects.filter(queries.has_status(s, now)).exists()]
        assert found == [shown], (desired, observed, reason, failure, away)
