"""Stands for the web process of a fault test: a line of JSON in, a line of JSON out. Started by `installation.py`.

Each command is a method of `Driver`; what it raises comes back as {"error": ...}.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402 - apps must be loaded first
from django.core.management import call_command  # noqa: E402
from django.db import close_old_connections  # noqa: E402

from accounts.models import QuotaLimit  # noqa: E402
from tests.faults.driver_boxes import Boxes  # noqa: E402
from tests.faults.driver_fatal import Fatal  # noqa: E402
from tests.faults.driver_host import Host  # noqa: E402
from tests.faults.driver_people import People  # noqa: E402
from tests.faults.driver_view import View  # noqa: E402
from tests.portal.world import make_world  # noqa: E402
from vms.models import Node  # noqa: E402


class Driver(People, Host, View, Boxes, Fatal):
    """Commands by name; arguments and answers are JSON."""

    def __init__(self) -> None:
        super().__init__()
        settings.PERSONAL_QUOTA.clear()

    def prepare(self) -> None:
        call_command("migrate", verbosity=0)
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
        make_world()
        QuotaLimit.objects.all().delete()
        Node.objects.update(synced_at=None)


def main() -> None:
    driver = Driver()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - logs must not be mistaken for answers
    os.dup2(2, 1)
    for line in sys.stdin:
        command, arguments = json.loads(line)
        close_old_connections()
        try:
            answer = {"answer": getattr(driver, command)(*arguments)}
        except Exception as error:  # noqa: BLE001 - the test decides what it means
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
