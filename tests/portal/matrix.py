"""Who gets what at every address: the table that `test_matrix.py` holds against the URL table.

A new address without a line here fails the tests. How to add one:

- An API call: `api("POST", "start_vm", DO, vm="stopped")`: method, the view's name, what each role is answered.
- A page that is looked at: `page("vms:detail", SEEN, vm="running")`. Its POST is tried too, and must change nothing.
- A page that also takes a form: `form("vms:edit", MAY_CHANGE, CHANGES, {"name": "web-2"}, vm="running")`: what GET
  answers, what POST answers, and what is posted.
- An address that only takes a POST: `act("vms:power", CHANGES, {}, vm="running", verb="stop")`.

Answers stand in the order of `ROLES`. Keywords fill the address: a machine by its state ("running", "stopped",
"failed", "creating"), a sandbox ("sandbox", "sandbox paused", "sandbox ended"), other things by what `test_matrix.py`
makes for them ("harbor", "bob"), or plain text.
"""

from dataclasses import dataclass, field
from typing import Any

ROLES = ("anonymous", "charlie", "dana", "bob", "alice", "admin")  # stranger, viewer, member, owner, staff
Answers = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Line:
    """One method at one address. `name` is the URL pattern's, with its namespace."""

    method: str
    name: str
    answers: Answers
    body: Any = None
    things: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.name}"


LINES: list[Line] = []
QUERIES = {"api:put_file": "?path=/tmp/x", "api:get_file": "?path=/tmp/x"}  # what an address is nothing without
USES = {"api:get_file"}  # GETs that write one thing when they are let in: when a sandbox was last used


def api(method: str, name: str, answers: Answers, body: Any = None, **things: str) -> None:
    LINES.append(Line(method, f"api:{name}", answers, body, things))


def page(name: str, answers: Answers, **things: str) -> None:
    LINES.append(Line("GET", name, answers, None, things))


def form(name: str, shown: Answers, taken: Answers, body: dict[str, Any], **things: str) -> None:
    LINES.append(Line("GET", name, shown, None, things))
    LINES.append(Line("POST", name, taken, body, things))


def act(name: str, answers: Answers, body: dict[str, Any] | None = None, **things: str) -> None:
    LINES.append(Line("POST", name, answers, body or {}, things))


# --- the API ------------------------------------------------------------------------------------------------
ANYONE: Answers = (200, 200, 200, 200, 200, 200)
OWN: Answers = (401, 200, 200, 200, 200, 200)
OWN_NEW: Answers = (401, 201, 201, 201, 201, 201)
SEEN: Answers = (401, 404, 200, 200, 200, 200)
CHANGED: Answers = (401, 404, 403, 200, 200, 200)
DO: Answers = (401, 404, 403, 202, 202, 202)
STAFF: Answers = (401, 404, 404, 404, 404, 200)

api("GET", "openapi-json", ANYONE)
page("api-docs", ANYONE)
api("GET", "api-root", (404, 404, 404, 404, 404, 404))
api("GET", "me", OWN)
api("GET", "list_flavors", OWN)
api("GET", "list_images", OWN)
api("GET", "list_vms", OWN)
api("POST", "create_vm", DO, {"name": "web-9", "image": "micro", "flavor": "nano", "project": "harbor"})
api("GET", "get_vm", SEEN, vm_id="running")
api("PATCH", "change_vm", CHANGED, {"description": "x"}, vm_id="running")
api("DELETE", "delete_vm", DO, vm_id="running")
api("POST", "start_vm", DO, vm_id="stopped")
api("POST", "stop_vm", DO, vm_id="running")
api("POST", "force_off_vm", DO, vm_id="running")
api("POST", "reboot_vm", DO, vm_id="running")
api("POST", "pause_vm", DO, vm_id="running")
api("POST", "resume_vm", DO, vm_id="paused")
api("POST", "retry_vm", DO, vm_id="failed")
api("POST", "resize_vm", DO, {"flavor": "small"}, vm_id="stopped")
api("GET", "list_vm_operations", SEEN, vm_id="running")
api("POST", "open_console", (401, 404, 403, 201, 201, 403), {"kind": "vnc"}, vm_id="running")
api("GET", "get_screenshot", SEEN, vm_id="running")
api("GET", "get_operation", SEEN, operation_id="creating")
api("POST", "cancel_operation", DO, operation_id="creating")
api("GET", "get_quota", SEEN, project_id="harbor")
api("PUT", "set_quota", (401, 404, 403, 403, 403, 200), {"limits": {"vms": 3}}, project_id="harbor")
api("GET", "list_members", SEEN, project_id="harbor")
api(
    "POST", "set_member", (401, 404, 403, 403, 201, 201), {"username": "charlie", "role": "viewer"},
    project_id="harbor",
)  # fmt: skip
api("DELETE", "remove_member", (401, 404, 403, 403, 204, 204), project_id="harbor", member="dana")
api("GET", "list_tokens", OWN)
api("POST", "create_token", OWN_NEW, {"name": "ci"})
api("DELETE", "delete_token", (401, 404, 404, 204, 404, 404), token_id="token of bob")
api("GET", "list_nodes", STAFF)
api("POST", "cordon_node", STAFF, {"reason": "new disk"}, node_id="node-1")
api("POST", "uncordon_node", STAFF, node_id="node-1")
api("GET", "list_audit", STAFF)
api("GET", "stream_events", OWN)

TEMPLATES_CHANGED: Answers = (401, 404, 403, 202, 202, 202)
HIS_BYTES: Answers = (401, 404, 403, 200, 200, 403)  # what a guest says and keeps: staff need a membership

api("GET", "list_templates", OWN)
api(
    "POST", "create_template", (401, 404, 403, 201, 201, 201),
    {"name": "ours", "image": "micro", "flavor": "nano", "project": "harbor"},
)  # fmt: skip
api("GET", "get_template", SEEN, template_id="template of harbor")
api("PATCH", "change_template", (401, 404, 403, 403, 403, 200), {"pool_size": 1}, template_id="template of harbor")
api("POST", "prepare_template", TEMPLATES_CHANGED, template_id="template of harbor")
api("DELETE", "delete_template", (401, 404, 403, 204, 204, 204), template_id="template of harbor")
api("GET", "list_sandboxes", OWN)
api("POST", "create_sandbox", DO, {"template": "micro", "project": "harbor"})
api("GET", "get_sandbox", SEEN, vm_id="sandbox")
api("DELETE", "delete_sandbox", DO, vm_id="sandbox")
api("POST", "reset_sandbox", DO, vm_id="sandbox")
api("POST", "extend_sandbox", CHANGED, {"minutes": 5}, vm_id="sandbox")
api("POST", "pause_sandbox", DO, vm_id="sandbox")
api("POST", "resume_sandbox", DO, vm_id="sandbox paused")
api("POST", "restore_sandbox", DO, vm_id="sandbox ended")
api("POST", "keep_sandbox", CHANGED, vm_id="sandbox")
api("POST", "check_isolation", (401, 404, 403, 202, 202, 403), vm_id="sandbox")
api("GET", "get_isolation", SEEN, vm_id="sandbox")
api("POST", "create_run", (401, 404, 403, 201, 201, 403), {"command": "true"}, vm_id="sandbox")
api("GET", "list_runs", SEEN, vm_id="sandbox")
api("GET", "get_run", SEEN, run_id="run")
api("POST", "kill_run", (401, 404, 403, 202, 202, 403), run_id="run")
api("GET", "get_output", HIS_BYTES, run_id="run")
api("GET", "stream_run", HIS_BYTES, run_id="run")
api("PUT", "put_file", (401, 404, 403, 200, 200, 403), {}, vm_id="sandbox")
api("GET", "get_file", (401, 404, 403, 200, 200, 403), vm_id="sandbox")

# --- pages: anonymous people are sent to the sign-in --------------------------------------------------------
MINE: Answers = (302, 200, 200, 200, 200, 200)
SHOWN: Answers = (302, 404, 200, 200, 200, 200)
MAY_CHANGE: Answers = (302, 404, 403, 200, 200, 200)
MAY_MANAGE: Answers = (302, 404, 403, 403, 200, 200)
BOBS: Answers = (302, 404, 404, 200, 404, 404)
DESK: Answers = (302, 404, 404, 404, 404, 200)
WRONG: Answers = (302, 422, 422, 422, 422, 422)
AWAY: Answers = (503, 503, 503, 503, 503, 503)
REDIRECT: Answers = (302, 302, 302, 302, 302, 302)
NOWHERE: Answers = (404, 404, 404, 404, 404, 404)

page("home", MINE)
page("quotas", MINE)
page("operation", SHOWN, operation_id="creating")
page("vms:list", MINE)
page("vms:search", MINE)
page("vms:detail", SHOWN, vm_id="running")
page("vms:console", (302, 404, 403, 200, 200, 403), vm_id="running")
form(
    "vms:new", MINE, (302, 422, 422, 302, 302, 422),
    {
        "name": "web-9", "image": "micro", "flavor": "nano", "project": "harbor", "start": "on",
        "request_key": "5f0c1b9e-6d0a-4c1f-9a57-9d0a3a1b2c3d",
    },
)  # fmt: skip
form("vms:bulk-delete", MINE, (302, 422, 403, 200, 200, 422), {"vm": "<running>", "sure": "1"})
act("vms:bulk", MAY_CHANGE, {"vm": "<running>"}, verb="stop")
act("vms:cancel", MAY_CHANGE, operation_id="creating")
act("vms:power", MAY_CHANGE, vm_id="running", verb="stop")
act("vms:again", MAY_CHANGE, vm_id="failed")
form("vms:force-off", MAY_CHANGE, MAY_CHANGE, {}, vm_id="running")
form("vms:delete", MAY_CHANGE, MAY_CHANGE, {"sure": "running"}, vm_id="running")
form("vms:edit", MAY_CHANGE, MAY_CHANGE, {"name": "web-2", "description": ""}, vm_id="running")
form("vms:resize", MAY_CHANGE, MAY_CHANGE, {"flavor": "small"}, vm_id="stopped")

NEW_THING: Answers = (302, 404, 403, 202, 202, 403)
page("sandboxes:list", MINE)
act("sandboxes:new", MAY_CHANGE, {"project": "harbor"}, template_id="template of harbor")
page("sandboxes:templates", MINE)
form(
    "sandboxes:new-template", MINE, (302, 422, 422, 200, 200, 422),
    {
        "name": "tools", "image": "micro", "flavor": "nano", "project": "harbor", "network": "nat",
        "lease_minutes": "60",
    },
)  # fmt: skip
page("sandboxes:template", SHOWN, template_id="template of harbor")
act("sandboxes:prepare", MAY_CHANGE, template_id="template of harbor")
act("sandboxes:pool", (302, 404, 403, 403, 403, 200), {"pool_size": "1"}, template_id="template of harbor")
form("sandboxes:retire", MAY_CHANGE, MAY_CHANGE, {}, template_id="template of harbor")
page("sandboxes:build-screen", (302, 404, 403, 200, 200, 200), build_id="pictured")
page("sandboxes:detail", SHOWN, vm_id="sandbox")
act("sandboxes:act", MAY_CHANGE, vm_id="sandbox", verb="extend")
form("sandboxes:reset", MAY_CHANGE, MAY_CHANGE, {}, vm_id="sandbox")
form("sandboxes:keep", MAY_CHANGE, MAY_CHANGE, {}, vm_id="sandbox")
form("sandboxes:delete", MAY_CHANGE, MAY_CHANGE, {}, vm_id="sandbox")
act("sandboxes:start-run", NEW_THING, {"command": "true"}, vm_id="sandbox")
page("sandboxes:run", SHOWN, run_id="run")
act("sandboxes:kill", (302, 404, 403, 200, 200, 403), run_id="run")
page("sandboxes:folder", (302, 404, 403, 200, 200, 403), vm_id="sandbox")
form("sandboxes:isolation", SHOWN, NEW_THING, {}, vm_id="sandbox")

form(
    "accounts:login", (200, 302, 302, 302, 302, 302), (422, 302, 302, 302, 302, 302),
    {"username": "alice", "password": "wrong"},
)  # fmt: skip
act("accounts:logout", REDIRECT)
form("accounts:signup", NOWHERE, NOWHERE, {})
form("accounts:password", MINE, WRONG, {"old_password": "wrong"})
act("accounts:preferences", REDIRECT, {"single_keys": "on"})
form("accounts:tokens", MINE, MINE, {"name": "ci", "scope": "read", "lifetime": "90"})
form("accounts:revoke", BOBS, BOBS, {}, token_id="token of bob")
page("accounts:projects", MINE)
form("accounts:project", SHOWN, MAY_MANAGE, {"username": "charlie", "role": "viewer"}, project_id="harbor")
act("accounts:set-role", MAY_MANAGE, {"role": "member"}, project_id="harbor", user_id="dana")
form("accounts:remove-member", MAY_MANAGE, MAY_MANAGE, {}, project_id="harbor", user_id="dana")

page("desk:home", DESK)
page("desk:people", DESK)
page("desk:projects", DESK)
page("desk:machines", DESK)
page("desk:operations", DESK)
page("desk:nodes", DESK)
page("desk:capacity", DESK)
page("desk:audit", DESK)
page("desk:person", DESK, user_id="charlie")
form("desk:new-person", DESK, (302, 404, 404, 404, 404, 422), {"username": ""})
form("desk:new-project", DESK, (302, 404, 404, 404, 404, 422), {"name": ""})
form("desk:shut-out", DESK, DESK, {}, user_id="charlie")
act("desk:let-in", DESK, user_id="charlie")
form("desk:limits", DESK, (302, 404, 404, 404, 404, 422), {"vms": "many"}, project_id="harbor")
form("desk:cordon", DESK, DESK, {"reason": "new disk"}, node_id="node-1")
act("desk:uncordon", DESK, node_id="node-1")

form("set_language", REDIRECT, REDIRECT, {"language": "fr"})
page("healthz", AWAY)
page("healthz-part", ANYONE, part="live")
page("metrics", (404, 404, 404, 404, 404, 200))
