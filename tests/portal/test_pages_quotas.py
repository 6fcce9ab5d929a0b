"""The quotas page: what is used, what uses it, and whose limit holds."""

import pytest
from django.urls import reverse

from accounts.services import set_limits
from tests.portal.pages import words

PAGE = "/quotas/?project=harbor"


def test_the_page_is_where_the_navigation_says(world):
    assert reverse("quotas") == "/quotas/"


def test_a_project_shows_use_and_room(world):
    world.vm("web-1", flavor="medium")
    world.vm("web-2", flavor="small", by="bob", start=False)
    page = words(world.browser("dana").get(PAGE))
    assert "Machines 2 of 10 8 left" in page
    assert "vCPU 3 of 16 13 left" in page
    assert "Running machines 1 of 10 9 left" in page
    assert "First to run out: Machines. 8 left." in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["web-1 2", "web-2 Stopped 1"]),
        ("&of=disk_gib", ["web-1 16 GiB", "web-2 Stopped 8 GiB"]),
        ("&by=member", ["alice 1 machine 2", "bob 1 machine 1"]),
        ("&of=nonsense&by=nobody", ["web-1 2", "web-2 Stopped 1"]),
    ],
)
def test_what_uses_it_is_listed_largest_first(world, query, expected):
    world.vm("web-1", flavor="medium")
    world.vm("web-2", flavor="small", by="bob", start=False)
    shares = words(world.browser("alice").get(PAGE + query)).partition("What uses it")[2]
    at = [shares.index(line) for line in expected]
    assert at == sorted(at)


def test_many_machines_are_added_up(world):
    for n in range(10):
        world.vm(f"web-{n}", start=False, drain=False)
    assert "2 more 2" in words(world.browser("alice").get(PAGE))


def test_members_see_their_own_limits(world):
    world.vm("web-1", by="bob")
    set_limits(world.actor("admin"), world.harbor, {}, {"bob": {"vms": 1, "vcpus": None}})
    page = words(world.browser("bob").get(PAGE)).partition("Limits of members")[2]
    assert "bob Machines 1 of 1 None left" in page
    assert "vCPU" not in page.partition("More room")[0]


def test_without_a_choice_every_project_has_its_card(world):
    page = words(world.browser("alice").get("/quotas/"))
    assert "alice personal" in page
    assert "harbor Details" in page


def test_a_foreign_project_is_not_shown(world):
    assert "harbor" not in words(world.browser("charlie").get(PAGE))


def test_only_staff_are_led_to_the_limits(world):
    people = {name: world.browser(name).get("/quotas/?project=" + name).content.decode() for name in ("alice", "admin")}
    assert "/limits" not in people["alice"]
    assert "/limits" in people["admin"]
