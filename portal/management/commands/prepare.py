"""`manage.py prepare`: what a development portal needs in its database, in one process: each start takes long."""

from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor


class Command(BaseCommand):
    help = "Applies migrations, adds the demo users, the given images and templates. Development only; may be repeated."
    requires_system_checks: list[str] = []  # they load every URL; ./dev lint and the web process run them

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("images", nargs="*", metavar="NAME=PATH", help="images of the catalogue")

    def handle(self, *args: Any, images: list[str], **options: Any) -> None:
        applied = self._migrate()
        call_command("seed_demo")
        for image in images:
            name, _, path = image.partition("=")
            call_command("add_image", name, Path(path))
        call_command("seed_templates")
        self.stdout.write(f"{applied} migrations applied" if applied else "up to date")

    def _migrate(self) -> int:
        """Apply what is missing; return how many that were."""
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
        missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        if missing:
            call_command("migrate", interactive=False, verbosity=1, stdout=self.stderr)
        return missing
