"""The list of machines at 100, 1,000 and 10,000: time and number of queries, of the page and of the API.

Requests go through all middleware in this process, so that the network does not blur the figures. Sizes alternate
with each other only in time, never within one database: the same project is filled up from one size to the next.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from ._portal import Portal, open_portal
from ._table import percentile, show, verdict

SIZES = (100, 1_000, 10_000)
MAX_RATIO = 1.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="how many machines, growing")
    arguments = parser.parse_args()
    rounds, sizes = arguments.rounds, arguments.sizes
    portal = open_portal()
    rows, p95, queries = [], {}, {}
    for size in sizes:
        portal.fill(size)
        for name, call in clients(portal).items():
            times, count = measure(call, rounds)
            p95[name, size], queries[name, size] = percentile(times, 95), count
            cells = [f"{1000 * percentile(times, p):.1f}" for p in (50, 95)]
            ratio = p95[name, size] / p95[name, sizes[0]]
            rows.append([name, size, *cells, f"{ratio:.2f}", count])
    show("List of machines", ["call", "machines", "p50 ms", "p95 ms", "p95 : p95 at first", "queries"], rows)
    good = True
    for name in dict.fromkeys(name for name, _size in p95):
        ratio = p95[name, sizes[-1]] / p95[name, sizes[0]]
        good &= verdict(f"{name}: p95 at {sizes[-1]} : at {sizes[0]}", ratio, MAX_RATIO)
        spread = {queries[name, size] for size in sizes}
        good &= verdict(f"{name}: different numbers of queries", len(spread), 1)
    return 0 if good else 1


def clients(portal: Portal) -> dict[str, Callable[[], Any]]:
    """Return what is measured at this size: the first page as a browser and as a program, and the one after it."""
    from django.test import Client

    from vms.queries import list_vms_for

    browser = Client(SERVER_NAME="127.0.0.1")
    browser.force_login(portal.alice, backend="django.contrib.auth.backends.ModelBackend")
    program = Client(SERVER_NAME="127.0.0.1", headers={"Authorization": f"Bearer {portal.token}"})

    def page() -> Any:
        return browser.get("/vms/")

    def api() -> Any:
        return program.get("/api/v1/vms?limit=50")

    cursor = list_vms_for(portal.alice, limit=50).next

    def second() -> Any:
        return program.get(f"/api/v1/vms?limit=50&cursor={cursor}")

    return {"page": page, "API": api, "API, second page": second}


def measure(call: Callable[[], Any], rounds: int) -> tuple[list[float], int]:
    """Return the seconds of each call, after a few that warm caches, and the queries of one."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    for _ in range(5):
        answer = call()
        assert answer.status_code == 200, answer.content[:500]
    with CaptureQueriesContext(connection) as captured:
        call()
        queries = len(captured)  # the next request empties the log
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times, queries


if __name__ == "__main__":
    sys.exit(main())
