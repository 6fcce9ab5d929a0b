"""The isolation report: begun, waited for, shown, judged."""

import httpx
import pytest
from test_cli_sandboxes import sandbox


def probe(name="host_tcp", result="held", label="Connect to this host", said="no answer"):
    return {"name": name, "result": result, "label": label, "said": said}


NEIGHBOUR = probe("neighbour_arp", "nobody", "Find a neighbour", "not tested: there is no neighbour")


@pytest.fixture
def checked(portal):
    """Let a check of the sandbox `box` end like this."""

    def ends(verdict, *probes, problem=""):
        box = sandbox()
        report = {
            "sandbox": {"id": box["id"], "name": "box"}, "network": "nat", "verdict": verdict, "run": "r-1",
            "begun_at": None, "finished_at": None, "held": sum(one["result"] == "held" for one in probes),
            "probes": list(probes), "problem": problem,
        }  # fmt: skip
        running = {**report, "verdict": "running", "held": 0, "probes": []}
        portal.items("sandboxes", box)
        portal.on("GET", f"sandboxes/{box['id']}", box)
        portal.on("POST", f"sandboxes/{box['id']}/isolation", httpx.Response(202, json=running))
        portal.on("GET", f"sandboxes/{box['id']}/isolation", [running, report])
        return report

    return ends


def test_walls_that_held_end_well_and_what_nobody_would_have_answered_is_said(checked, slipway):
    report = checked("held", probe(), NEIGHBOUR)
    answer = slipway("sandbox", "isolation", "box")
    assert answer.code == 0
    assert answer.out.splitlines()[0].split()[:2] == ["RESULT", "TRIED"]
    assert answer.out.splitlines()[1].split() == ["held", "Connect", "to", "this", "host", "no", "answer"]
    assert "box: 1 of 2 held, 1 not tested: nobody is there who would answer." in answer.err
    assert slipway("sandbox", "isolation", "box", "--json").json == report


@pytest.mark.parametrize(
    ("verdict", "probes", "said"),
    [
        ("open", [probe(result="open", said="answered: 22"), probe()], "have a hole: Connect to this host."),
        ("incomplete", [probe(result="untested", said="not tried")], "Not everything could be tried"),
        ("failed", [], "could not be checked. This image does not have what tries it."),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["words", "json"])
def test_walls_that_did_not_hold_or_were_not_tried_end_with_1(checked, slipway, verdict, probes, said, flags):
    report = checked(verdict, *probes, problem="This image does not have what tries it.")
    answer = slipway("sandbox", "isolation", "box", *flags)
    assert answer.code == 1
    assert said in answer.err
    assert not flags or answer.json == report
