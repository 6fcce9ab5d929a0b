"""`manage.py audit`: evaluate the invariants I1..I7 on this node; exit 1 when one is broken."""

import json
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from hypervisor.factory import open_hypervisor
from portal.invariants import INVARIANTS, Breach, evaluate


class Command(BaseCommand):
    help = "Checks that database, libvirt and storage agree (docs/reliability.md), and prints what does not."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json", help="print a JSON list of breaches")

    def handle(self, *args: Any, as_json: bool, **options: Any) -> None:
        hypervisor = open_hypervisor(settings.LIBVIRT_URI)
        try:
            breaches = evaluate(hypervisor)
        finally:
            hypervisor.close()
        if as_json:
            self.stdout.write(json.dumps([breach.as_json() for breach in breaches], indent=1))
        else:
            self._print(breaches)
        if breaches:
            sys.exit(1)

    def _print(self, breaches: list[Breach]) -> None:
        for code, (title, _check) in INVARIANTS.items():
            found = [breach for breach in breaches if breach.code == code]
            self.stdout.write(f"{code}  {'ok    ' if not found else 'BROKEN'}  {title}")
            for breach in found:
                self.stdout.write(f"      {breach.what}")
        self.stdout.write("All invariants hold." if not breaches else f"{len(breaches)} broken.")
