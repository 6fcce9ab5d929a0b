"""What bench/sandbox.py prints: each time by its percentiles, and each figure beside the one that is wanted."""

import statistics
from collections import defaultdict

from ._table import percentile, show, verdict

Times = defaultdict[str, list[float]]
# A script's clone that waits has run no command yet, and then it has: what that takes, an emulated processor translates
# once.
CLAIMS = ("bare: claim to first output", "bare: claim of one that has run a command")
TOGETHER = "at once, until the last has acknowledged"


def last(times: Times) -> str:
    """The latest times of Slipway's, in a line."""
    return ", ".join(f"{name} {found[-1]:.2f}" for name, found in times.items() if name.startswith("Slip"))


def report(recipe: str, times: Times, found: dict[str, float], counts: tuple[int, int]) -> int:
    """Print it all; return the exit code. `found`: PSS in MiB, disk in MiB, processors; `counts`: at once, idle."""
    rows = [
        [name, len(all_of), *(f"{1000 * value:.0f}" for value in (statistics.median(all_of), percentile(all_of, 95)))]
        for name, all_of in times.items()
    ]
    show(f"Sandboxes of {recipe}", ["from ... to", "times", "p50 ms", "p95 ms"], rows)
    print()
    good = [verdict(*row) for row in [*_ratios(times, counts[0]), *_costs(found, counts[1])]]
    print(f"While they idle, the portal and libvirtd together take {found['care']:.2f} of a processor.")
    return 0 if all(good) else 1


def _ratios(times: Times, at_once: int) -> list[tuple[str, float, float, bool]]:
    middle = {name: statistics.median(all_of) for name, all_of in times.items()}
    cold, own, bare = middle["cold boot to agent"], middle["Slipway: clone to acknowledged"], middle
    claim, output = middle["Slipway: claim to first output"], middle["Slipway: clone to first output"]
    reply, together = bare["libvirt: clone to first reply"], middle[TOGETHER]
    return [
        ("cold boot : clone to the guest's first reply", cold / reply, 50, False),
        ("cold boot : POST to a run's answer", cold / output, 25, False),
        ("cold boot : warm claim to a run's output", cold / claim, 50, False),
        ("warm claim : the script's", claim / bare[CLAIMS[0]], 1.25, True),
        ("warm claim : the script's of one that has run a command", claim / bare[CLAIMS[1]], 1.25, True),
        ("POST to identity acknowledged : the script's", own / bare["bare: clone to acknowledged"], 1.25, True),
        ("through libvirt : QEMU alone", reply / bare["bare: QEMU to first reply"], 1.5, True),
        (f"{at_once} at once ({together:.2f} s) : {at_once} x one", together / (at_once * own), 1.0, True),
        ("reset to a run's output : clone", middle["Slipway: reset to first output"] / output, 1.0, True),
    ]


def _costs(found: dict[str, float], many: int) -> list[tuple[str, float, float, bool]]:
    pss = f"PSS of an idle clone ({found['pss']:.0f} MiB) : of a booted one"
    return [
        (pss, found["pss"] / found["booted"], 0.15, True),
        ("MB of storage of an idle clone", found["disk"] * 1.048576, 10, True),
        (f"processors that {many} idle sandboxes take", found["core"], 0.25, True),
    ]
