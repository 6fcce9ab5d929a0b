"""The isolation report: asked for, waited for, shown."""

import time

from .client import Api, Json
from .faults import Fault
from .showing import plain, say, show_table

PAUSE = 0.5
AT_MOST_SECONDS = 300.0  # a check takes 120 at most, once its sandbox is there


def check(api: Api, sandbox_id: str) -> Json:
    """Begin a check and return its report once it has ended."""
    begun = api.post(f"sandboxes/{sandbox_id}/isolation")
    say("Trying from inside what must not be possible ...")
    return _ended(api, begun)


def _ended(api: Api, begun: Json) -> Json:
    until = time.monotonic() + AT_MOST_SECONDS
    while True:
        report = api.get(f"sandboxes/{begun['sandbox']['id']}/isolation")
        if report["run"] != begun["run"] or report["verdict"] != "running":
            return report
        if time.monotonic() > until:
            raise Fault(f"The check has not ended after {AT_MOST_SECONDS:.0f} s.", "Look at it: slipway sandbox show")
        time.sleep(PAUSE)


def show(report: Json) -> None:
    """Print a report for people."""
    rows = [[probe["result"], probe["label"], probe["said"]] for probe in report["probes"]]
    show_table(["RESULT", "TRIED", "WHAT CAME OF IT"], rows, "Nothing was tried.")


def judge(report: Json) -> None:
    """End with a fault where a wall did not hold, or where it was not found out."""
    name, verdict = plain(report["sandbox"]["name"]), report["verdict"]
    if verdict == "held":
        nobody = sum(probe["result"] == "nobody" for probe in report["probes"])
        not_tested = f", {nobody} not tested: nobody is there who would answer" if nobody else ""
        say(f"{name}: {report['held']} of {len(report['probes'])} held{not_tested}.")
        return
    if verdict == "open":
        found = [plain(probe["label"]) for probe in report["probes"] if probe["result"] == "open"]
        raise Fault(f"The walls of {name} have a hole: {', '.join(found)}.", slug="open")
    if verdict == "incomplete":
        raise Fault(f"Not everything could be tried in {name}: nothing was open as far as it went.", slug="incomplete")
    raise Fault(f"{name} could not be checked. {plain(report['problem'])}".strip(), slug="failed")
