"""Pages by key: every row once, in both directions, whatever comes between."""

import base64
import json

import pytest

from accounts.keyset import page
from accounts.models import AuditEntry, User
from accounts.refusals import BadInput


@pytest.fixture
def entries(db):
    AuditEntry.objects.bulk_create(AuditEntry(actor_name=f"n{i}", via="system", action="x") for i in range(7))
    return AuditEntry.objects.all()


def walk(rows, keys, size, direction="next", cursor=""):
    pages = []
    while True:
        found = page(rows, keys, size, cursor)
        pages.append(found)
        cursor = getattr(found, direction)
        if not cursor:
            return pages


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("keys", [["-id"], ["id"]])
def test_every_row_comes_once_there_and_back(entries, keys, size):
    expected = list(entries.order_by(*keys).values_list("pk", flat=True))
    there = walk(entries, keys, size)
    assert [row.pk for found in there for row in found.items] == expected
    assert there[0].previous == ""
    assert there[-1].next == ""
    if len(there) > 1:
        back = walk(entries, keys, size, "previous", there[-1].previous)
        assert [[row.pk for row in found.items] for found in reversed(back)] == [
            [row.pk for row in found.items] for found in there[:-1]
        ]
        assert back[-1].previous == ""
        assert all(found.next for found in back)


def test_rows_that_come_do_not_shift_a_page(entries):
    first = page(entries, ["-id"], 3)
    AuditEntry.objects.create(actor_name="new", via="system", action="x")
    second = page(entries, ["-id"], 3, first.next)
    assert [row.actor_name for row in second.items] == ["n3", "n2", "n1"]


def test_moments_that_the_database_wrote_are_exact(entries):
    pages = walk(entries, ["-at", "-id"], 2)
    assert [row.actor_name for found in pages for row in found.items] == [f"n{i}" for i in reversed(range(7))]


def test_a_cursor_whose_row_is_gone_is_refused_where_it_bears_a_moment(entries):
    first = page(entries, ["-at", "-id"], 3)
    AuditEntry.objects.filter(pk=first.items[-1].pk).delete()
    with pytest.raises(BadInput):
        page(entries, ["-at", "-id"], 3, first.next)


def test_two_keys_break_ties(db):
    User.objects.bulk_create(User(username=f"u{i}", first_name="same") for i in range(5))
    pages = walk(User.objects.all(), ["first_name", "username"], 2)
    assert [row.username for found in pages for row in found.items] == [f"u{i}" for i in range(5)]


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "!!!", "", *(
            base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
            for value in (
                1, [], [False], [1, 2], [False, "a\x00"], [False, 2**70], [False, {}], [False, None], [False, "word"],
                ["x", 1],
            )
        ),
    ],
)  # fmt: skip
def test_a_cursor_that_is_not_ours_is_refused(entries, cursor):
    if cursor == "":
        assert len(page(entries, ["-id"], 3, cursor).items) == 3
        return
    with pytest.raises(BadInput):
        page(entries, ["-id"], 3, cursor)
