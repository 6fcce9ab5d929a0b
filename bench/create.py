"""From a POST to a guest that answers, with `micro`, against a plain libvirt-python script that makes the same machine.

Both ask the same guest agent in the same way, in turns; the script takes over the definition that Slipway made, so both
start the same hardware from the same image. Runs against the portal of `./dev up -d`.
"""

import argparse
import json
import secrets
import statistics
import sys
import time
from collections import defaultdict
from datetime import datetime
from typing import Any

import libvirt

from tests.live import Api, Live

from ._bare import Bare, await_agent
from ._live import running_portal
from ._table import show, verdict

MAX_RATIO = 1.25
Steps = defaultdict[str, list[float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    pairs = parser.parse_args().pairs
    live = running_portal()
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open("qemu:///system")
    rows, ratios, said = [], [], []
    steps, bare_steps = Steps(list), Steps(list)
    with live.api("alice") as api, Bare(connection, model_of(api, connection)) as bare:
        for number in range(1, pairs + 1):
            if number % 2:
                ours, theirs = slipway(live, api, connection, steps), plain(bare, bare_steps)
            else:
                theirs, ours = plain(bare, bare_steps), slipway(live, api, connection, steps)
            ratios.append(ours["answers"] / theirs)
            said.append(ours["portal says so"] / theirs)
            figures = (ours["accepted"], ours["answers"], ours["portal says so"], theirs)
            rows.append([number, *(f"{figure:.2f}" for figure in figures), f"{ratios[-1]:.2f}"])
            print(f"pair {number}: {ratios[-1]:.2f}", file=sys.stderr)
    connection.close()
    head = ["pair", "202 after s", "guest answers s", "portal says so s", "bare script s", "ratio"]
    show("Create a micro machine", head, rows)
    parts = [[name, *(f"{statistics.median(one[name]):.2f}" if one[name] else "" for one in (steps, bare_steps))]
             for name in list(steps)]  # fmt: skip
    show("Steps, medians", ["step", "Slipway s", "bare script s"], parts)
    print()
    good = verdict("guest answers : bare script, median of pairs", statistics.median(ratios), MAX_RATIO)
    good &= verdict("portal says so : bare script, median of pairs", statistics.median(said), MAX_RATIO)
    return 0 if good else 1


def body() -> dict[str, Any]:
    return {"name": f"bench-{secrets.token_hex(3)}", "image": "micro", "flavor": "nano"}


def model_of(api: Api, connection: libvirt.virConnect) -> str:
    """Return the definition of a machine that Slipway made; both sides' files are warm after that."""
    vm = api.create(**body())
    found = connection.lookupByUUIDString(vm["domain_uuid"]).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    api.delete(vm["id"])
    return str(found)


def slipway(live: Live, api: Api, connection: libvirt.virConnect, steps: Steps) -> dict[str, float]:
    """Create a machine and return seconds since the POST; add the seconds of each step to `steps`."""
    began, clock = time.monotonic(), time.time()
    answer = api.call("POST", "vms", body())
    accepted = time.monotonic() - began
    await_agent(lambda: connection.lookupByUUIDString(answer["vm"]["domain_uuid"]))
    answers = time.monotonic() - began
    operation = api.finished(answer["operation"])
    assert operation["status"] == "succeeded", operation
    ended = datetime.fromisoformat(operation["finished_at"]).timestamp() - clock
    for name, seconds in step_times(live, operation["id"]):
        steps[name].append(seconds)
    api.delete(answer["vm"]["id"])
    return {"accepted": accepted, "answers": answers, "portal says so": ended}


def step_times(live: Live, operation_id: str) -> list[tuple[str, float]]:
    """Return what the journal says about an operation's steps, and how long it waited before the first."""
    script = (
        "import json; from vms.models import Operation;"
        f"o = Operation.objects.get(pk='{operation_id}');"
        "print(json.dumps([['(waits)', (o.started_at - o.created_at).total_seconds()], *o.step_times]))"
    )
    printed = live.manage("shell", "--no-imports", "-c", script).stdout
    return [(name, seconds) for name, seconds in json.loads(printed.splitlines()[-1])]


def plain(bare: Bare, steps: Steps) -> float:
    """Create a machine with the script and return the seconds that it took; add those of each step to `steps`."""
    domain, times = bare.create()
    bare.remove(domain)
    for name, seconds in times.items():
        steps[name].append(seconds)
    return sum(times.values())


if __name__ == "__main__":
    sys.exit(main())
