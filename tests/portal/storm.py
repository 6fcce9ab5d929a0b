"""A process of the quota storm: `python tests/portal/storm.py CREATES THREADS PREFIX`, told to go by a line on stdin.

Makes machines through the service, in threads, as fast as it can; prints how many it got and how many were refused.
Run with DATABASE_URL naming a prepared database. Redis is not there: bells are dropped.
"""

import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

import django

django.setup()

from django.db import connections  # noqa: E402 - apps must be loaded first

from accounts.actor import Actor  # noqa: E402
from accounts.models import User  # noqa: E402
from accounts.refusals import QuotaExceeded  # noqa: E402
from vms import services  # noqa: E402


def create(name: str) -> str:
    """Ask for one machine; returns what became of it."""
    try:
        user = User.objects.get(username="alice")
        new = services.NewVm(name=name, image="micro", flavor="nano", project="harbor", start=False)
        services.request_create(Actor(user=user, via="test"), new)
    except QuotaExceeded as refusal:
        [shortage] = refusal.extra["quota"]
        return f"refused {shortage['dimension']}"
    else:
        return "created"
    finally:
        connections.close_all()


def main() -> None:
    creates, threads, prefix = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with ThreadPoolExecutor(threads) as pool:
        print("ready", flush=True)
        sys.stdin.readline()
        print(dict(Counter(pool.map(create, [f"{prefix}-{n}" for n in range(creates)]))), flush=True)


if __name__ == "__main__":
    main()
