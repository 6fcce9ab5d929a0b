"""Projects, quotas, members, nodes and the audit trail through the API."""

import pytest

NEW = {"name": "web-1", "image": "micro", "flavor": "nano", "project": "harbor"}


def test_quotas_are_set_by_staff_and_read_by_members(world):
    admin, alice = world.api("admin"), world.api("alice")
    set_to = {"limits": {"vms": 1, "disk_gib": None}, "member_limits": {"bob": {"vcpus": 0}}}
    answer = admin.call("PUT", "projects/harbor/quota", set_to)
    assert answer.status_code == 200
    quota = alice.call("GET", "projects/harbor/quota").json()
    assert quota == answer.json()
    assert (quota["limits"]["vms"], quota["limits"]["disk_gib"], quota["limits"]["vcpus"]) == (1, None, 16)
    assert quota["member_limits"] == {"bob": {"vcpus": 0}}
    refused = world.api("bob").call("POST", "vms", NEW)
    assert (refused.status_code, refused.json()["code"]) == (409, "quota_exceeded")
    assert [(s["scope"], s["dimension"], s["short"]) for s in refused.json()["quota"]] == [("member", "vcpus", 1)]
    vm = alice.call("POST", "vms", NEW).json()["vm"]
    refused = alice.call("POST", "vms", NEW | {"name": "web-2"}).json()
    assert refused["quota"] == [
        {
            "scope": "project", "dimension": "vms", "limit": 1, "used": 1, "requested": 1, "short": 1,
            "frees": [{"vm": vm["id"], "name": "web-1", "amount": 1}],
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limits": {"vms": -1}}, "limits.vms"),
        ({"limits": {"vms": "5"}}, "limits.vms"),
        ({"limits": {"vms": True}}, "limits.vms"),
        ({"limits": {"vms": 1.5}}, "limits.vms"),
        ({"limits": {"vms": 2**53}}, "limits.vms"),
        ({"limits": {"cpus": 5}}, "limits.cpus"),
        ({"limits": {"v\x00": 5}}, "limits.v\x00"),
        ({"limits": []}, "limits"),
        ({"member_limits": {"charlie": {"vms": 1}}}, "member_limits.charlie"),
        ({"member_limits": {"bob": {"cpus": 1}}}, "member_limits.bob.cpus"),
        ({"usage": {}}, "usage"),
    ],
)
def test_limits_that_are_none_change_nothing(world, body, field):
    admin = world.api("admin")
    before = admin.call("GET", "projects/harbor/quota").json()
    response = admin.call("PUT", "projects/harbor/quota", body)
    assert (response.status_code, list(response.json()["fields"])) == (422, [field])
    assert admin.call("GET", "projects/harbor/quota").json() == before


def test_members_come_change_and_go(world):
    alice = world.api("alice")
    added = alice.call("POST", "projects/harbor/members", {"username": "charlie"})
    assert (added.status_code, added.json()["role"]) == (201, "member")
    assert world.api("charlie").call("GET", "projects/harbor/quota").status_code == 200
    changed = alice.call("POST", "projects/harbor/members", {"username": "charlie", "role": "viewer"})
    assert changed.json()["role"] == "viewer"
    roles = {m["user"]["username"]: m["role"] for m in alice.call("GET", "projects/harbor/members").json()["items"]}
    assert roles == {"alice": "owner", "bob": "member", "dana": "viewer", "charlie": "viewer"}
    assert alice.call("DELETE", f"projects/harbor/members/{world.charlie.pk}").status_code == 204
    assert alice.call("DELETE", "projects/harbor/members/charlie").status_code == 404
    last = alice.call("DELETE", "projects/harbor/members/alice")
    assert (last.status_code, last.json()["code"]) == (403, "forbidden")
    for body in (
        {"username": "nobody"},
        {"username": "bob\x00"},
        {"username": ""},
        {"username": "bob", "role": "king"},
    ):
        assert alice.call("POST", "projects/harbor/members", body).status_code == 422


def test_nodes_are_cordoned_and_take_nothing_new(world):
    admin = world.api("admin")
    [node] = admin.call("GET", "nodes").json()["items"]
    assert (node["name"], node["away"], node["cordoned"], node["vms"]) == ("node-1", False, False, 0)
    cordoned = admin.call("POST", f"nodes/{node['id']}/cordon", {"reason": "new disk"}).json()
    assert (cordoned["cordoned"], cordoned["cordon_reason"]) == (True, "new disk")
    assert world.api("alice").call("POST", "vms", NEW).status_code == 503
    assert admin.call("POST", f"nodes/{node['id']}/uncordon").json()["cordoned"] is False
    assert world.api("alice").call("POST", "vms", NEW).status_code == 202


def test_the_audit_trail_tells_who_did_what_by_which_way(world):
    alice = world.api("alice")
    response = alice.call("POST", "vms", NEW)
    vm = response.json()["vm"]
    admin = world.api("admin")
    [entry] = admin.call("GET", "audit?actor=alice&action=vm.").json()["items"]
    assert (entry["actor"], entry["via"], entry["action"]) == ("alice", "token", "vm.create")
    assert entry["target"] == {"kind": "vm", "id": vm["id"], "name": "web-1"}
    assert entry["project"]["name"] == "harbor"
    assert entry["request_id"] == response["X-Request-Id"]
    assert admin.call("GET", f"audit?about={vm['id']}").json()["items"] == [entry]
    assert admin.call("GET", "audit?actor=charlie&action=vm.").json()["items"] == []
    everything = admin.call("GET", "audit?limit=2").json()
    following = admin.call("GET", f"audit?limit=2&cursor={everything['next']}").json()
    assert everything["items"][-1]["id"] > following["items"][0]["id"]


def test_me_lists_the_personal_project_first_with_limits_and_usage(world):
    world.vm()
    me = world.api("alice").call("GET", "me").json()
    assert me["user"]["username"] == "alice"
    assert [(p["name"], p["role"], p["personal"]) for p in me["projects"]] == [
        ("alice", "owner", True), ("harbor", "owner", False),
    ]  # fmt: skip
    assert me["projects"][1]["usage"]["running_vms"] == 1
    assert me["projects"][1]["limits"]["vms"] == 10
