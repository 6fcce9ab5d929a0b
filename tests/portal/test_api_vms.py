"""Machines through the API, as the guide promises them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from hypervisor.errors import NoSpace
from tests.portal.answers import ok, refused
from vms.models import Node, VirtualMachine

NEW = {"name": "web-1", "image": "micro", "flavor": "nano", "project": "harbor"}
VM_FIELDS = {
    "id", "domain_uuid", "name", "description", "status", "status_reason", "desired_state", "observed_state",
    "observed_at", "vcpus", "memory_mib", "disk_gib", "image", "flavor", "node", "project", "ip_addresses", "operation",
}  # fmt: skip
OPERATION_FIELDS = {
    "id", "kind", "status", "step", "progress", "attempt", "created_at", "finished_at", "error",
}  # fmt: skip


@pytest.fixture
def alice(world):
    return world.api("alice")


def test_a_machine_from_create_to_delete(world, alice):
    made = ok(alice.call("POST", "vms", NEW), 202)
    vm, operation = made["vm"], made["operation"]
    assert set(vm) >= VM_FIELDS
    assert set(operation) >= OPERATION_FIELDS
    assert (vm["status"], vm["desired_state"], vm["observed_state"]) == ("creating", "running", "absent")
    assert vm["operation"] == operation
    assert (operation["kind"], operation["status"], operation["error"]) == ("create", "pending", None)
    assert vm["image"] == {"id": str(world.images["micro"].pk), "name": "micro"}
    assert vm["flavor"]["name"] == "nano"
    assert vm["project"]["name"] == "harbor"
    assert vm["node"]["name"] == "node-1"

    world.drain()
    operation = ok(alice.call("GET", f"operations/{operation['id']}"))
    assert (operation["status"], operation["progress"]) == ("succeeded", 100)
    assert operation["finished_at"].endswith("Z")
    seen = ok(alice.call("GET", f"vms/{vm['id']}"))
    assert (seen["status"], seen["operation"]) == ("running", None)
    assert seen["observed_at"].endswith("Z")
    assert seen["ip_addresses"] == ["10.71.0.2"]
    assert seen["version"] > vm["version"]

    first = ok(alice.call("DELETE", f"vms/{vm['id']}"), 202)
    assert ok(alice.call("GET", f"vms/{vm['id']}"))["status"] == "deleting"
    assert ok(alice.call("DELETE", f"vms/{vm['id']}"), 202)["operation"]["id"] == first["operation"]["id"]
    world.drain()
    refused(alice.call("DELETE", f"vms/{vm['id']}"), 404, "not_found")
    refused(alice.call("GET", f"vms/{vm['id']}"), 404, "not_found")
    gone = ok(alice.call("GET", f"operations/{first['operation']['id']}"))
    assert (gone["status"], gone["vm"]["name"]) == ("succeeded", "web-1")


def test_power_verbs_answer_with_whole_objects(world, alice):
    vm = world.vm()
    for verb, kind, after in (
        ("pause", "pause", "paused"),
        ("resume", "resume", "running"),
        ("reboot", "reboot", "running"),
        ("stop", "stop", "stopped"),
        ("start", "start", "running"),
        ("force-off", "force_off", "stopped"),
    ):
        done = ok(alice.call("POST", f"vms/{vm.pk}/{verb}"), 202)
        assert set(done) == {"vm", "operation"}
        assert done["operation"]["kind"] == kind
        assert done["vm"]["operation"]["id"] == done["operation"]["id"]
        world.drain()
        assert ok(alice.call("GET", f"vms/{vm.pk}"))["status"] == after
    kinds = [item["kind"] for item in ok(alice.call("GET", f"vms/{vm.pk}/operations"))["items"]]
    assert kinds == ["force_off", "start", "stop", "reboot", "resume", "pause", "create"]


def test_a_busy_machine_says_what_keeps_it(world, alice):
    vm = world.vm()
    stop = ok(alice.call("POST", f"vms/{vm.pk}/stop"), 202)["operation"]
    body = refused(alice.call("POST", f"vms/{vm.pk}/reboot"), 409, "operation_in_progress")
    assert body["operation"] == stop["id"]
    assert ok(alice.call("POST", f"vms/{vm.pk}/force-off"), 202)["operation"]["kind"] == "force_off"
    ended = ok(alice.call("GET", f"operations/{stop['id']}"))
    assert (ended["status"], ended["error"]["code"]) == ("cancelled", "preempted")


@pytest.mark.parametrize(
    ("verb", "start"), [("start", True), ("resume", True), ("stop", False), ("pause", False), ("reboot", False)]
)
def test_a_verb_that_its_state_does_not_allow(world, alice, verb, start):
    vm = world.vm(start=start)
    refused(alice.call("POST", f"vms/{vm.pk}/{verb}"), 409, "invalid_state")


def test_resize_grows_and_never_shrinks(world, alice):
    vm = world.vm(flavor="small")
    refused(alice.call("POST", f"vms/{vm.pk}/resize", {"flavor": "medium"}), 409, "invalid_state")
    alice.call("POST", f"vms/{vm.pk}/force-off")
    world.drain()
    body = refused(alice.call("POST", f"vms/{vm.pk}/resize", {"flavor": "nano"}), 422, "invalid")
    assert "shrink" in body["fields"]["flavor"][0]
    done = ok(alice.call("POST", f"vms/{vm.pk}/resize", {"flavor": str(world.flavors["medium"].pk)}), 202)
    assert (done["vm"]["vcpus"], done["vm"]["memory_mib"], done["vm"]["disk_gib"]) == (2, 1024, 16)
    world.drain()
    assert ok(alice.call("GET", f"vms/{vm.pk}"))["flavor"]["name"] == "medium"


def test_rename_and_description(world, alice):
    vm = world.vm()
    world.vm("web-2", drain=False)
    changed = ok(alice.call("PATCH", f"vms/{vm.pk}", {"description": "Ünïcode <b>&</b> 🐳\nsecond line"}))
    assert (changed["name"], changed["description"]) == ("web-1", "Ünïcode <b>&</b> 🐳\nsecond line")
    changed = ok(alice.call("PATCH", f"vms/{vm.pk}", {"name": "web-3"}))
    assert (changed["name"], changed["description"][:7]) == ("web-3", "Ünïcode")
    assert "name" in refused(alice.call("PATCH", f"vms/{vm.pk}", {"name": "web-2"}), 422, "invalid")["fields"]
    assert ok(alice.call("PATCH", f"vms/{vm.pk}", {}))["name"] == "web-3"


@pytest.mark.parametrize(
    "field",
    [
        "id", "owner", "created_by", "project", "project_id", "node", "host", "domain_uuid", "status", "desired_state",
        "observed_state", "vcpus", "memory_mib", "disk_gib", "flavor", "image", "quota", "is_staff", "version",
        "attention_rank", "failure", "sealed_seed",
    ],
)  # fmt: skip
def test_nothing_else_can_be_assigned_and_who_tries_is_noted_a20(world, alice, field, caplog):
    vm = world.vm()
    before = VirtualMachine.objects.filter(pk=vm.pk).values().get()
    body = refused(alice.call("PATCH", f"vms/{vm.pk}", {"name": "web-2", field: "x"}), 422, "invalid")
    assert list(body["fields"]) == [field]
    assert VirtualMachine.objects.filter(pk=vm.pk).values().get() == before
    [noted] = [r.msg for r in caplog.records if isinstance(r.msg, dict) and r.msg.get("event") == "unknown_fields"]
    assert (noted["fields"], noted["user"]) == ([field], "alice")


def test_image_flavor_and_project_are_taken_by_id_or_name(world, alice):
    by_id = {
        "name": "web-2", "image": str(world.images["micro"].pk), "flavor": str(world.flavors["nano"].pk),
        "project": str(world.harbor.pk),
    }  # fmt: skip
    made = ok(alice.call("POST", "vms", by_id), 202)["vm"]
    assert (made["image"]["name"], made["flavor"]["name"], made["project"]["name"]) == ("micro", "nano", "harbor")
    personal = ok(alice.call("POST", "vms", {"name": "mine", "image": "micro", "flavor": "nano"}), 202)["vm"]
    assert personal["project"]["name"] == "alice"
    assert ok(alice.call("GET", f"projects/{world.harbor.pk}/quota")) == ok(alice.call("GET", "projects/harbor/quota"))


def test_a_project_named_like_another_ones_id_does_not_stand_before_it(world, alice):
    from accounts.models import Project

    Project.objects.create(name=str(world.harbor.pk))
    assert (
        ok(alice.call("POST", "vms", NEW | {"project": str(world.harbor.pk)}), 202)["vm"]["project"]["name"] == "harbor"
    )


def test_a_machine_too_small_for_its_image_is_refused_with_both_figures(world, alice):
    body = refused(alice.call("POST", "vms", NEW | {"image": "debian-12"}), 422, "invalid")
    assert "3 GiB" in body["fields"]["flavor"][0]


def test_a_create_that_failed_says_why_and_can_be_tried_again(world, alice):
    world.hypervisor.fail_next("ensure_volume", NoSpace("the pool is full"))
    made = ok(alice.call("POST", "vms", NEW), 202)
    world.drain()
    failed = ok(alice.call("GET", f"operations/{made['operation']['id']}"))
    assert (failed["status"], failed["error"]["code"]) == ("failed", "pool_full")
    assert "the pool is full" not in str(failed)  # staff's detail stays with staff
    vm = ok(alice.call("GET", f"vms/{made['vm']['id']}"))
    assert (vm["status"], vm["status_reason"]) == ("error", "create_failed")
    ok(alice.call("POST", f"vms/{vm['id']}/retry"), 202)
    world.drain()
    assert ok(alice.call("GET", f"vms/{vm['id']}"))["status"] == "running"
    refused(alice.call("POST", f"vms/{vm['id']}/retry"), 409, "invalid_state")


def test_cancel_while_it_waits_and_when_it_is_too_late(world, alice):
    operation = ok(alice.call("POST", "vms", NEW), 202)["operation"]
    cancelled = ok(alice.call("POST", f"operations/{operation['id']}/cancel"), 202)["operation"]
    assert (cancelled["status"], cancelled["error"]["code"]) == ("cancelled", "cancelled")
    assert alice.call("POST", f"operations/{operation['id']}/cancel").status_code == 409


def test_a_node_that_is_away_makes_its_machines_unknown(world, alice):
    vm = world.vm()
    Node.objects.update(synced_at=timezone.now() - timedelta(minutes=5))
    seen = ok(alice.call("GET", f"vms/{vm.pk}"))
    assert (seen["status"], seen["status_reason"], seen["observed_state"]) == ("unknown", "node_away", "running")
    assert refused(alice.call("POST", "vms", NEW | {"name": "web-2"}), 503, "no_capacity")
