"""F25 on real processes: workers of one version and the schema of another, with operations in flight."""

import pytest

on_postgresql = [pytest.param("postgresql", marks=pytest.mark.short)]
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.parametrize("on_fake", on_postgresql, indirect=True, scope="module"),
]


def test_an_older_worker_and_a_newer_schema_with_operations_in_flight_F25(on_fake, ours):
    """The database is ahead: columns that this version does not know, and an operation at a step of tomorrow's."""
    first = on_fake("create", ours.name())
    on_fake.wait(lambda: on_fake("held"), 60, "a worker has begun")
    for table in ("vms_operation", "vms_virtualmachine"):  # expand: with a default in the database, as ours all have
        on_fake.postgres.sql(f"alter table {table} add column of_tomorrow varchar(9) not null default 'x'")
    on_fake.wait(lambda: on_fake("live") == 0, 60, "what was in flight has ended")
    on_fake.kill("worker")
    second = on_fake("create", ours.name())
    on_fake.postgres.sql(f"update vms_operation set step = 'of_tomorrow' where id = '{second}'")
    on_fake.start("worker")
    third = on_fake("create", ours.name())
    on_fake.wait(lambda: on_fake("live") == 1, 60, "the others go on")
    [parked] = [row for row in on_fake("operations") if row[0] == second]
    assert parked[2:4] == ["pending", ""]  # left to a newer worker, and not failed
    on_fake.postgres.sql(f"update vms_operation set step = '' where id = '{second}'")  # which comes
    ends = {row[0]: row[2] for row in ours.settled()}
    assert ends == dict.fromkeys((first, second, third), "succeeded")


def test_a_newer_worker_on_an_older_schema_loses_nothing_F25(on_fake, ours):
    """The worker is there before the migration: what it cannot read waits until it can."""
    on_fake.kill("worker")
    first = on_fake("create", ours.name())
    on_fake.postgres.sql("alter table vms_operation rename column takeovers to of_yesterday")
    on_fake.start("worker")
    on_fake.wait(lambda: "takeovers" in on_fake.log("worker"), 90, "the worker has met the older schema")
    assert on_fake.postgres.sql(f"select status from vms_operation where id = '{first}'") == "pending"
    on_fake.postgres.sql("alter table vms_operation rename column of_yesterday to takeovers")
    second = on_fake("create", ours.name())
    assert {row[0]: row[2] for row in ours.settled()} == dict.fromkeys((first, second), "succeeded")
    assert set(on_fake("boots").values()) == {1}
