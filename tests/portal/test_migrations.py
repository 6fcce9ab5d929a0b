"""F25: schemas only grow, so that a worker of the version before goes on while a newer one is put in its place."""

import pytest
from django.apps import apps
from django.db.migrations import operations
from django.db.migrations.loader import MigrationLoader
from django.db.models import NOT_PROVIDED

OURS = ("accounts", "vms", "sandboxes")
SHRINKING = (
    operations.RemoveField,
    operations.RenameField,
    operations.DeleteModel,
    operations.RenameModel,
    operations.AlterModelTable,
)
LATER = [
    (label, name, migration)
    for (label, name), migration in sorted(MigrationLoader(None, ignore_no_migrations=True).disk_migrations.items())
    if label in OURS and not migration.initial
]


@pytest.mark.parametrize("later", LATER, ids=lambda later: f"{later[0]}-{later[1]}")
def test_a_migration_takes_nothing_away_and_asks_nothing_of_an_older_version_F25(later):
    steps = later[2].operations
    made = {step.name.lower() for step in steps if isinstance(step, operations.CreateModel)}
    assert not [step.describe() for step in steps if isinstance(step, SHRINKING)]
    fields = [step for step in steps if isinstance(step, operations.AddField) and step.model_name.lower() not in made]
    assert [step.describe() for step in fields if not left_out_by_older_versions(later[0], step)] == []


def left_out_by_older_versions(label, step):
    """May a row be written without the column, as it is after all migrations?"""
    field = apps.get_model(label, step.model_name)._meta.get_field(step.name)
    return field.null or field.db_default is not NOT_PROVIDED or field.many_to_many


def test_there_are_migrations_to_look_at():
    assert LATER
    assert all(apps.is_installed(label) for label in OURS)
