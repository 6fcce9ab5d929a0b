"""Machines: lists, names, creating, waiting, and every way in which the portal says no."""

import re

import httpx
import pytest
from cli_world import URL, operation, problem, vm

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGT alice"


@pytest.fixture
def web(portal):
    made = vm()
    portal.items("vms", made)
    portal.on("GET", f"vms/{made['id']}", made)
    return made


def create(slipway, *more):
    return slipway("vm", "create", "web-1", "--image", "micro", "--flavor", "nano", *more)


def test_the_list_is_a_table(portal, slipway):
    busy = vm("db-1", status="creating", operation=operation("create", "running", step="disk", progress=40))
    portal.items("vms", busy, vm(), vm("old", status="error", status_reason="create_failed"))
    lines = slipway("vm", "ls").out.splitlines()
    assert lines[0].split() == ["NAME", "STATUS", "SIZE", "IMAGE", "ADDRESS", "PROJECT"]
    assert re.fullmatch(r"db-1 +creating \(create 40 %\) +1 vCPU, 256 MiB, 2 GiB +micro +10.71.0.2 +harbor", lines[1])
    assert "error (create failed)" in lines[3]


def test_an_empty_list_says_so_on_stderr(portal, slipway):
    portal.items("vms")
    answer = slipway("vm", "ls")
    assert (answer.code, answer.out) == (0, "")
    assert "slipway vm create" in answer.err
    assert slipway("vm", "ls", "--json").json == []


def test_lists_are_read_to_their_end(portal, slipway):
    pages = {None: {"items": [vm("a")], "next": "more"}, "more": {"items": [vm("b")], "next": None}}
    portal.on("GET", "vms", lambda request: pages[request.url.params.get("cursor")])
    assert [row["name"] for row in slipway("vm", "ls", "--json").json] == ["a", "b"]


def test_filters_go_to_the_portal(portal, slipway):
    portal.items("vms")
    slipway("vm", "ls", "--status", "running", "--status", "error", "-p", "harbor")
    asked = portal.asked[0].url.params
    assert (asked.get_list("status"), asked["project"]) == (["running", "error"], "harbor")
    assert "search" not in asked


def test_control_characters_of_others_do_not_reach_the_terminal(portal, slipway):
    portal.items("vms", vm(status_reason="\x1b]0;evil\x07\x1b[2J"))
    assert "\x1b" not in slipway("vm", "ls").out


def test_a_machine_by_its_exact_name(portal, slipway):
    portal.items("vms", vm("web-10"), vm("web-1"))
    assert slipway("vm", "show", "web-1", "--json").json["name"] == "web-1"
    assert portal.asked[0].url.params["search"] == "web-1"


def test_a_machine_by_its_id(web, portal, slipway):
    assert slipway("vm", "show", web["id"]).out.splitlines()[0].split() == ["name", "web-1"]
    assert len(portal.asked) == 1


def test_no_such_machine(portal, slipway):
    portal.items("vms", vm("web-1"))
    answer = slipway("vm", "show", "wbe-1")
    assert answer.code == 4
    assert "no machine named wbe-1" in answer.err
    assert "Did you mean web-1?" in answer.err


def test_the_same_name_in_two_projects_wants_a_project(portal, slipway):
    portal.items("vms", vm(), vm(project={"id": "p-2", "name": "dock"}))
    answer = slipway("vm", "stop", "web-1")
    assert answer.code == 2
    assert "dock, harbor" in answer.err
    assert "--project dock" in answer.err


def test_create_waits_and_shows_the_steps(web, portal, slipway):
    steps = [
        operation("create", "running", step="disk", progress=16),
        operation("create", "running", step="agent", progress=83, attempt=2),
        operation("create", "succeeded", progress=100),
    ]
    portal.on("POST", "vms", httpx.Response(202, json={"vm": web, "operation": operation("create")}))
    portal.on("GET", f"operations/{steps[0]['id']}", steps)
    answer = create(slipway)
    assert answer.code == 0
    assert answer.out.startswith("web-1 is running at 10.71.0.2.")
    assert answer.err.splitlines() == [
        "web-1: create: waiting for its turn (0.0 s)",
        "web-1: create: preparing the disk, 16 % (0.0 s)",
        "web-1: create: waiting for the guest, 83 %, attempt 2 (0.0 s)",
        "web-1: create: done (0.0 s)",
    ]
    assert portal.bodies("POST", "vms") == [{"name": "web-1", "image": "micro", "flavor": "nano", "start": True}]


def test_no_wait_answers_at_once(web, portal, slipway):
    portal.on("POST", "vms", httpx.Response(202, json={"vm": web, "operation": operation("create")}))
    assert create(slipway, "--no-wait", "--json").json == {"vm": web, "operation": operation("create")}
    assert len(portal.asked) == 1


def test_a_create_whose_answer_was_lost_is_asked_for_again_with_the_same_key(web, portal, slipway):
    done = {"vm": web, "operation": operation("create", "succeeded")}
    first = problem(409, "in_flight", "The first one is not answered yet.")
    portal.on("POST", "vms", [httpx.ReadError("lost"), first, httpx.Response(202, json=done)])
    assert create(slipway).code == 0
    keys = [request.headers["idempotency-key"] for request in portal.asked if request.method == "POST"]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_keys_passwords_and_user_data(web, portal, slipway, tmp_path, monkeypatch):
    import io

    (tmp_path / "a.pub").write_text(f"# mine\n{KEY}\n")
    (tmp_path / "start").write_text("#!/bin/sh\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("open sesame\n"))
    portal.on("POST", "vms", {"vm": web, "operation": operation("create", "succeeded")})
    files = ["--ssh-key", str(tmp_path / "a.pub"), "--user-data", str(tmp_path / "start"), "--ask-password"]
    assert create(slipway, *files).code == 0
    body = portal.bodies("POST", "vms")[0]
    assert (body["ssh_keys"], body["user_data"], body["password"]) == ([KEY], "#!/bin/sh\n", "open sesame")


def test_your_own_key_goes_in_unless_you_say_no(web, portal, slipway, home):
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519.pub").write_text(f"{KEY}\n")
    portal.on("POST", "vms", {"vm": web, "operation": operation("create", "succeeded")})
    assert "--no-ssh-key" in create(slipway).err
    create(slipway, "--no-ssh-key")
    assert [body.get("ssh_keys") for body in portal.bodies("POST", "vms")] == [[KEY], None]


def test_a_private_key_is_never_sent(portal, slipway, tmp_path):
    (tmp_path / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    answer = create(slipway, "--ssh-key", str(tmp_path / "id"))
    assert answer.code == 2
    assert "private key" in answer.err
    assert portal.asked == []


def test_an_operation_that_fails_says_why(web, portal, slipway):
    error = {"code": "guest_timeout", "detail": "The guest did not shut down within 180 seconds."}
    portal.on("POST", f"vms/{web['id']}/stop", {"vm": web, "operation": operation("stop")})
    failed = operation("stop", "failed", step="stopped", error=error)
    portal.on("GET", f"operations/{failed['id']}", failed)
    answer = slipway("vm", "stop", "web-1")
    assert answer.code == 1
    assert "did not shut down within 180 seconds" in answer.err
    assert f"slipway op show {failed['id']}" in answer.err


def test_ctrl_c_while_waiting_says_that_it_goes_on(web, portal, slipway):
    portal.on("POST", f"vms/{web['id']}/start", {"vm": web, "operation": operation("start")})
    portal.on(
        "GET", f"operations/{operation('start')['id']}", lambda _request: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    answer = slipway("vm", "start", "web-1")
    assert answer.code == 130
    assert "goes on" in answer.err
    assert f"slipway op cancel {operation('start')['id']}" in answer.err


def test_a_portal_that_goes_away_while_waiting_is_asked_again(web, portal, slipway):
    lost = httpx.ConnectError("refused")
    portal.on("POST", f"vms/{web['id']}/start", {"vm": web, "operation": operation("start")})
    portal.on(
        "GET", f"operations/{operation('start')['id']}", [lost, lost, lost, lost, operation("start", "succeeded")]
    )
    answer = slipway("vm", "start", "web-1")
    assert answer.code == 0
    assert "does not answer; asking again" in answer.err


def test_a_full_quota_says_what_is_short_and_what_would_free_it(portal, slipway):
    entry = {"scope": "project", "dimension": "memory_mib", "limit": 512, "used": 512, "requested": 256, "short": 256}
    entry["frees"] = [{"vm": "x", "name": "old", "amount": 256}]
    portal.on("POST", "vms", problem(409, "quota_exceeded", "Your quota does not allow this.", quota=[entry]))
    answer = create(slipway)
    assert answer.code == 6
    assert "memory_mib of the project: 512 of 512 used, 256 asked for, 256 too many." in answer.err
    assert "old (256)" in answer.err


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (problem(401, "not_authenticated", "Who are you?"), 3, "slipway login"),
        (problem(403, "forbidden", "Your role does not allow this."), 1, "Your role does not allow this."),
        (problem(403, "read_only_token", "This token only reads."), 1, "slipway login"),
        (problem(409, "invalid_state", "It is running."), 1, "It is running."),
        (problem(409, "operation_in_progress", "Busy.", operation="op-7"), 1, "slipway op show op-7"),
        (problem(422, "invalid", "Check it.", fields={"name": ["Too long.", "Odd."]}), 1, "name: Too long. Odd."),
        (problem(503, "no_capacity", "No node has room."), 1, "No node has room."),
        (httpx.Response(500, text="<h1>oops</h1>"), 1, "HTTP 500"),
        (httpx.Response(502, text="bad gateway"), 5, "HTTP 502"),
        (httpx.Response(200, text="<html>a router's page</html>"), 5, "not as a Slipway portal does"),
        (httpx.ConnectError("[Errno 111] Connection refused"), 5, f"{URL} cannot be reached"),
        (httpx.ReadTimeout("slow"), 5, "does not answer in time"),
    ],
)
def test_refusals_are_sentences_with_exit_codes(portal, slipway, answer, code, said):
    portal.on("POST", "vms", answer)
    result = create(slipway)
    assert result.code == code
    assert said in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


def test_deleting_asks_first(web, portal, slipway, monkeypatch):
    import io

    portal.on("DELETE", f"vms/{web['id']}", {"operation": operation("delete", "succeeded")})
    answer = slipway("vm", "rm", "web-1")
    assert answer.code == 2
    assert "--yes" in answer.err
    person = io.StringIO("n\n")
    person.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", person)
    assert slipway("vm", "rm", "web-1").code == 1
    assert not any(request.method == "DELETE" for request in portal.asked)
    assert slipway("vm", "rm", "web-1", "--yes").out == "web-1 is gone.\n"


def test_rename_and_resize(web, portal, slipway):
    portal.on("PATCH", f"vms/{web['id']}", {**web, "name": "web-2"})
    assert slipway("vm", "rename", "web-1", "web-2").out == "web-1 is now web-2.\n"
    portal.on("POST", f"vms/{web['id']}/resize", {"vm": web, "operation": operation("resize", "succeeded")})
    assert slipway("vm", "resize", "web-1", "small").code == 0
    assert portal.bodies("POST", f"vms/{web['id']}/resize") == [{"flavor": "small"}]


def test_operations(web, portal, slipway):
    done = operation("start", "failed", step="running", error={"code": "x", "detail": "It broke."})
    portal.items(f"vms/{web['id']}/operations", done)
    portal.on("GET", f"operations/{done['id']}", done)
    portal.on("POST", f"operations/{done['id']}/cancel", problem(409, "ended", "It has ended."))
    assert done["id"] in slipway("op", "ls", "web-1").out
    assert "It broke. (x)" in slipway("op", "show", done["id"]).out
    assert slipway("op", "wait", done["id"]).code == 1
    assert slipway("op", "cancel", done["id"]).code == 1


def test_quota_of_all_projects_and_of_one(portal, slipway):
    numbers = {"limits": {"vms": 10, "vcpus": None}, "usage": {"vms": 3, "vcpus": 4}}
    me = {"projects": [{"id": "p-1", "name": "harbor", "role": "owner", "personal": False, **numbers}]}
    portal.on("GET", "me", me)
    portal.on("GET", "projects/p-1/quota", {**numbers, "member_limits": {"bob": {"vms": 2}}})
    lines = [line.split() for line in slipway("quota").out.splitlines()]
    assert lines[1:] == [["harbor", "vms", "3", "10", "7"], ["harbor", "vcpus", "4", "unlimited"]]
    assert ["harbor", "vms", "of", "bob", "2"] in [line.split() for line in slipway("quota", "harbor").out.splitlines()]
    assert slipway("quota", "nowhere").code == 4


def test_tab_offers_names_and_never_an_error(portal, monkeypatch):
    from slipway_cli import completing

    portal.items("vms", vm("web-1"), vm("web-2"), vm("db-1"))
    assert completing.machines("we") == ["web-1", "web-2"]
    portal.on("GET", "vms", httpx.ConnectError("away"))
    assert completing.machines("we") == []
    monkeypatch.delenv("SLIPWAY_TOKEN")
    assert completing.machines("we") == []
