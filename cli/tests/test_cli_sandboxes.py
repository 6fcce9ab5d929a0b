"""Sandboxes and templates: made, shown, extended, kept, taken away."""

import uuid
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cli_world import operation, problem, vm

NAMED = {"id": "t-1", "name": "debian"}


def lease(**more):
    clock = {"status": "running", "minutes": 60, "seconds_left": 3540, "expires_at": "2026-01-31T13:00:00.000Z"}
    return {**clock, "ended_at": None, "grace_until": None, **more}


def sandbox(name="box", **more):
    machine = vm(name)
    return {
        **{
            key: machine[key]
            for key in ("id", "name", "status", "status_reason", "ip_addresses", "project", "operation")
        },
        "template": NAMED,
        "network": "nat",
        "lease": lease(),
        "ready": True,
        "claimed": False,
        "plain_reason": "",
        "vm": machine,
        **more,
    }


def build(**more):
    usual = {
        "id": str(uuid.uuid4()),
        "node": {"id": "n", "name": "node-1"},
        "status": "ready",
        "fits": True,
        "reason": "",
    }
    times = {"created_at": "2026-01-31T11:00:00.000Z", "frozen_at": "2026-01-31T11:01:00.000Z"}
    return {
        **usual,
        "detail": "",
        "output": "",
        "size_bytes": 300 * 2**20,
        "waiting": 2,
        "operation": None,
        **times,
        **more,
    }


def template(*builds, **more):
    return {
        **NAMED,
        "description": "",
        "project": None,
        "image": {"id": "i", "name": "debian-12"},
        "flavor": {"id": "f", "name": "small"},
        "vcpus": 1,
        "memory_mib": 512,
        "disk_gib": 8,
        "ready_script": "",
        "share_ram": True,
        "network": "nat",
        "pool_size": 2,
        "lease_minutes": 60,
        "idle_minutes": None,
        "builds": list(builds),
        "created_at": "2026-01-31T10:00:00.000Z",
        **more,
    }


@pytest.fixture
def box(portal):
    made = sandbox()
    portal.items("sandboxes", made)
    portal.on("GET", f"sandboxes/{made['id']}", made)
    return made


def test_one_command_makes_a_sandbox(box, portal, slipway):
    done = operation("claim", "succeeded", vm={"id": box["id"], "name": "box"})
    portal.on("POST", "sandboxes", httpx.Response(202, json={"sandbox": box, "operation": done}))
    answer = slipway("sandbox", "new", "debian", "--lease", "2h", "-n", "isolated")
    assert answer.code == 0
    assert answer.out == "box is ready, for 59 min. Go in: slipway sandbox console box\n"
    assert portal.bodies("POST", "sandboxes") == [{"template": "debian", "network": "isolated", "lease_minutes": 120}]
    slipway("sandbox", "new", "debian")
    assert portal.bodies("POST", "sandboxes")[1] == {"template": "debian"}


def test_a_plain_boot_says_so(portal, slipway):
    box = sandbox(plain_reason="The template is not prepared on any node.")
    portal.on("GET", f"sandboxes/{box['id']}", box)
    portal.on("POST", "sandboxes", {"sandbox": box, "operation": operation("create", "succeeded")})
    assert "booted, not cloned: The template is not prepared" in slipway("sandbox", "new", "debian").err


def test_the_list_has_countdowns(portal, slipway):
    soon = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    portal.items(
        "sandboxes",
        sandbox("a"),
        sandbox("b", lease=lease(status="paused", seconds_left=7 * 3600)),
        sandbox("c", lease=lease(status="ended", seconds_left=0, grace_until=soon)),
    )
    lines = slipway("sandbox", "ls").out.splitlines()
    assert lines[0].split() == ["NAME", "STATUS", "LEFT", "TEMPLATE", "NETWORK", "ADDRESS", "PROJECT"]
    assert "59 min" in lines[1]
    assert "7 h (paused)" in lines[2]
    assert "ended, gone in 3 h" in lines[3]


@pytest.mark.parametrize(
    ("verb", "said"),
    [("reset", "clean again"), ("pause", "slipway sandbox resume box"), ("resume", "goes on"), ("restore", "is back")],
)
def test_verbs_wait_and_say_what_is(box, portal, slipway, verb, said):
    portal.on("POST", f"sandboxes/{box['id']}/{verb}", {"sandbox": box, "operation": operation(verb, "succeeded")})
    assert said in slipway("sandbox", verb, "box").out


def test_extending_keeping_and_deleting(box, portal, slipway):
    portal.on("POST", f"sandboxes/{box['id']}/extend", {**box, "lease": lease(seconds_left=9000)})
    portal.on("POST", f"sandboxes/{box['id']}/keep", vm("box"))
    portal.on("DELETE", f"sandboxes/{box['id']}", {"operation": operation("delete", "succeeded")})
    assert slipway("sandbox", "extend", "box", "90m").out == "box has 2 h 30 min left.\n"
    assert portal.bodies("POST", f"sandboxes/{box['id']}/extend") == [{"minutes": 90}]
    assert "is a machine now" in slipway("sandbox", "keep", "box").out
    assert slipway("sandbox", "rm", "box").code == 2
    assert slipway("sandbox", "rm", "box", "-y").out == "box is gone.\n"


def test_a_name_that_is_not_there(portal, slipway):
    portal.items("sandboxes", sandbox("box"))
    answer = slipway("sandbox", "reset", "boxx")
    assert answer.code == 4
    assert "Did you mean box?" in answer.err


@pytest.mark.parametrize("text", ["", "0", "-5", "soon", "1w", "1.5h"])
def test_what_is_no_time_span(portal, slipway, text):
    answer = slipway("sandbox", "extend", "box", "--", text)
    assert answer.code == 2
    assert "90s, 45m, 2h or 1d" in answer.err
    assert portal.asked == []


def test_the_console_of_a_sandbox_is_found_by_its_name(box, portal, slipway, monkeypatch):
    from slipway_cli import console

    seen = []
    monkeypatch.setattr(console, "attach", lambda _api, machine: seen.append(machine["name"]))
    portal.on("GET", f"vms/{box['id']}", box["vm"])
    assert slipway("sandbox", "console", "box").code == 0
    assert seen == ["box"]


# --- templates --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("builds", "state"),
    [
        ([], "not prepared"),
        ([build(waiting=0)], "ready "),
        ([build()], "ready (2 waiting)"),
        ([build(fits=False)], "outdated"),
        ([build(status="building", fits=False)], "preparing"),
        ([build(status="failed", fits=False)], "failed"),
        ([build(status="failed", fits=False), build(waiting=0)], "ready "),
    ],
)
def test_the_state_of_a_template(portal, slipway, builds, state):
    portal.items("templates", template(*builds))
    assert state in slipway("template", "ls").out


def test_a_template_that_could_not_be_prepared_says_why(portal, slipway):
    failed = build(
        status="failed", fits=False, detail="The ready script ended with 3.", output="no such package", size_bytes=0
    )
    portal.on("GET", "templates/debian", template(failed))
    assert (
        "on node-1: failed. The ready script ended with 3.: no such package"
        in slipway("template", "show", "debian").out
    )


def test_preparing_waits_for_every_node(portal, slipway):
    begun = [operation("prepare"), operation("prepare", id="op-2")]
    portal.on("POST", "templates/debian/prepare", {"template": template(), "operations": begun})
    for each in begun:
        portal.on("GET", f"operations/{each['id']}", {**each, "status": "succeeded"})
    portal.on("GET", "templates/t-1", template(build(waiting=0)))
    assert slipway("template", "prepare", "debian").out == "debian is ready.\n"


def test_what_is_typed_is_one_piece_of_the_path(portal, slipway):
    slipway("template", "show", "../me")
    assert portal.asked[0].url.raw_path == b"/api/v1/templates/..%2Fme"


def test_only_staff_prepare_everybodys(portal, slipway):
    said = "This template is everybody's: only staff change it."
    portal.on("POST", "templates/debian/prepare", problem(403, "forbidden", said))
    answer = slipway("template", "prepare", "debian")
    assert answer.code == 1
    assert said in answer.err
