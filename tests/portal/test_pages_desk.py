"""The admin desk: what staff see, what they set, and that nobody is overwritten unseen."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from accounts import services as people
from accounts.models import ApiToken, AuditEntry, Project, QuotaLimit, User
from tests.portal.pages import SCRIPT, field, said, words
from vms import overview, quotas, services
from vms.models import Node, Operation, StoragePool, VirtualMachine
from vms.presenting.trail import SENTENCES
from vms.states import OperationKind, OperationStatus


def desk(name, *arguments):
    return reverse(f"desk:{name}", args=arguments)


@pytest.fixture
def admin(world):
    return world.browser("admin")


def limits_form(world, response, **changes):
    """The form's fields as the page shows them, with changes."""
    names = ["seen", *quotas.limits(world.harbor)]
    return {name: field(response, name) for name in names} | changes


# --- attention ----------------------------------------------------------------------------------------------
def test_a_quiet_portal_says_so(world, admin):
    world.vm()
    assert "Nothing needs you" in words(admin.get(desk("home")))


def test_what_burns_stands_on_the_first_page(world, admin):
    world.vm("web-1")
    Node.objects.update(synced_at=timezone.now() - timedelta(minutes=10))
    StoragePool.objects.update(free_bytes=20 * 2**30)
    page = words(admin.get(desk("home")))
    assert "node-1 is away since" in page
    assert "1 machine shows as unknown. None is started elsewhere." in page
    assert "is 96 % full" in page


def test_a_failure_is_shown_until_something_succeeds(world, admin):
    vm = world.vm("web-1")
    failed = Operation.objects.create(
        kind="stop", vm=vm, vm_name=vm.name, project=world.harbor, node=world.node, actor=world.bob, status="failed",
        finished_at=timezone.now(), error_code="guest_timeout", error_detail="The guest did not shut down.",
        staff_detail="agent: no answer for 60 s",
    )  # fmt: skip
    page = words(admin.get(desk("home")))
    assert "bob sees: The guest did not shut down." in page
    assert "agent: no answer for 60 s" in page
    services.request_force_off(world.actor("alice"), vm.pk)
    world.drain()
    assert failed not in overview.failed_lately(timezone.now())
    assert "Nothing needs you" in words(admin.get(desk("home")))


def test_work_that_nobody_takes_is_shown(world, admin):
    vm = world.vm("web-1")
    services.request_stop(world.actor("alice"), vm.pk)
    assert "nobody works on it" not in words(admin.get(desk("home")))
    Operation.objects.filter(vm=vm, status=OperationStatus.PENDING).update(
        created_at=timezone.now() - timedelta(minutes=5)
    )
    assert "web-1 : Stopping, but nobody works on it since" in words(admin.get(desk("home")))


def test_the_desk_asks_a_constant_number_of_questions(world, admin, django_assert_max_num_queries):
    for n in range(3):
        world.vm(f"web-{n}")
    admin.get(desk("home"))
    with django_assert_max_num_queries(30):
        admin.get(desk("home"))
    for name in ("machines", "operations", "nodes", "people", "projects", "audit", "capacity"):
        with django_assert_max_num_queries(20):
            admin.get(desk(name))


# --- limits -------------------------------------------------------------------------------------------------
def test_limits_are_shown_with_their_effect_before_they_are_set(world, admin):
    world.vm("web-1", flavor="medium")
    page = desk("limits", world.harbor.pk)
    form = limits_form(world, admin.get(page), vcpus="1", disk_gib="")
    shown = words(admin.post(page, form))
    assert "vCPU : 16 becomes 1 In use: 2, so 1 too many. Nothing is stopped" in shown
    assert "Disk : 200 GiB becomes unlimited" in shown
    assert "Machines :" not in shown
    assert quotas.limits(world.harbor)["vcpus"] == 16
    answer = admin.post(page, form | {"step": "confirm"})
    assert said(answer) == ["Limits of harbor set."]
    assert (quotas.limits(world.harbor)["vcpus"], quotas.limits(world.harbor)["disk_gib"]) == (1, None)
    entry = AuditEntry.objects.get(action="quota.set")
    assert entry.data["limits"] == {"vcpus": 1, "disk_gib": None}
    assert VirtualMachine.objects.get().observed_state == "running"


def test_limits_of_a_member(world, admin):
    page = desk("limits", world.harbor.pk) + "?member=bob"
    shown = admin.get(page)
    assert "Limits of bob in harbor" in words(shown)
    admin.post(page, limits_form(world, shown, vms="1") | {"step": "confirm"})
    assert QuotaLimit.objects.get(member=world.bob).limit == 1
    assert quotas.limits(world.harbor)["vms"] == 10


@pytest.mark.parametrize("who", ["charlie", "nobody"])
def test_who_is_no_member_has_no_limits(world, admin, who):
    assert admin.get(desk("limits", world.harbor.pk) + f"?member={who}").status_code == 404


def test_two_admins_do_not_overwrite_each_other(world, admin):
    page = desk("limits", world.harbor.pk)
    form = limits_form(world, admin.get(page), vcpus="40")
    people.set_limits(world.actor("admin"), world.harbor, {"vcpus": 24})
    answer = admin.post(page, form | {"step": "confirm"})
    assert said(answer) == ["admin has set these limits meanwhile. Your decision was not applied."]
    assert quotas.limits(world.harbor)["vcpus"] == 24


@pytest.mark.parametrize("bad", ["-1", "many", "1.5", str(2**60)])
def test_a_bad_limit_keeps_the_form(world, admin, bad):
    page = desk("limits", world.harbor.pk)
    answer = admin.post(page, limits_form(world, admin.get(page), vms=bad, vcpus="7"))
    assert (answer.status_code, field(answer, "vms"), field(answer, "vcpus")) == (422, bad, "7")
    assert quotas.limits(world.harbor)["vcpus"] == 16


def test_going_back_keeps_what_was_typed(world, admin):
    page = desk("limits", world.harbor.pk)
    answer = admin.post(page, limits_form(world, admin.get(page), vcpus="12") | {"step": "back"})
    assert (field(answer, "vcpus"), quotas.limits(world.harbor)["vcpus"]) == ("12", 16)


def test_no_change_is_said_and_not_recorded(world, admin):
    page = desk("limits", world.harbor.pk)
    answer = admin.post(page, limits_form(world, admin.get(page)))
    assert "These are the limits already" in words(answer)
    assert not AuditEntry.objects.filter(action="quota.set").exists()


# --- people -------------------------------------------------------------------------------------------------
def test_a_person_is_made_with_a_project(world, admin):
    new = {"username": "erin", "email": "", "password": "long-enough-to-keep"}
    answer = admin.post(desk("new-person"), new)
    erin = User.objects.get(username="erin")
    assert answer.url == desk("person", erin.pk)
    assert not erin.is_staff
    assert AuditEntry.objects.get(action="user.create", target_id=erin.pk).actor == world.admin


def test_a_project_is_made_for_somebody(world, admin):
    bad = admin.post(desk("new-project"), {"name": "harbor", "owner": "nobody"})
    assert (bad.status_code, field(bad, "owner")) == (422, "nobody")
    assert "This name is taken." in words(bad)
    assert "Nobody of that name has an account here." in words(bad)
    admin.post(desk("new-project"), {"name": "ci-platform", "owner": "bob"})
    assert Project.objects.get(name="ci-platform").memberships.get().user == world.bob


def test_shutting_out_ends_everything_but_machines(world, admin):
    bob, secret = world.browser("bob"), world.token("bob")
    vm = world.vm("web-1", by="bob")
    page = desk("shut-out", world.bob.pk)
    assert "1 machine stays as it is, 1 of it running" in words(admin.get(page))
    answer = admin.post(page, headers=SCRIPT)
    assert answer.json() == {"go": desk("person", world.bob.pk)}
    assert bob.get(reverse("home")).status_code == 302
    assert people.authenticate_token(secret) is None
    vm.refresh_from_db()
    assert vm.observed_state == "running"
    admin.post(desk("let-in", world.bob.pk))
    assert User.objects.get(username="bob").is_active
    assert not ApiToken.objects.filter(user=world.bob, revoked_at=None).exists()


def test_nobody_shuts_themselves_out(world, admin):
    assert admin.post(desk("shut-out", world.admin.pk)).status_code == 403
    assert User.objects.get(username="admin").is_active


# --- the fleet ----------------------------------------------------------------------------------------------
def test_staff_see_and_power_everybodys_machines_but_open_no_console(world, admin):
    vm = world.vm("web-1")
    page = admin.get(desk("machines")).content.decode()
    assert reverse("vms:power", args=[vm.pk, "stop"]) in page
    assert reverse("vms:console", args=[vm.pk]) not in page
    assert admin.get(reverse("vms:console", args=[vm.pk])).status_code == 403


@pytest.mark.parametrize(
    ("query", "found"), [("web", True), ("harbor", True), ("node-1", True), ("alice", True), ("x y", False)]
)
def test_machines_are_found_by_what_staff_know(world, admin, query, found):
    world.vm("web-1")
    assert ("web-1" in words(admin.get(desk("machines"), {"q": query}))) is found


def test_operations_are_filtered_searched_and_paged(world, admin, monkeypatch):
    monkeypatch.setattr(overview, "OPERATIONS_ON_A_PAGE", 2)
    vms = [world.vm(f"web-{n}") for n in range(5)]
    first = admin.get(desk("operations"))
    assert [op.operation.vm_name for op in first.context["operations"]] == ["web-4", "web-3"]
    second = admin.get(first.context["page"]["next"])
    assert [op.operation.vm_name for op in second.context["operations"]] == ["web-2", "web-1"]
    back = admin.get(second.context["page"]["previous"])
    assert [op.operation.vm_name for op in back.context["operations"]] == ["web-4", "web-3"]
    last = admin.get(second.context["page"]["next"])
    assert (len(last.context["operations"]), last.context["page"]["next"]) == (1, "")
    assert admin.get(desk("operations"), {"q": str(vms[0].pk)}).context["operations"][0].operation.vm_name == "web-0"
    assert admin.get(desk("operations"), {"filter": "failed"}).context["operations"] == []
    assert admin.get(desk("operations"), {"cursor": "nonsense"}).url == desk("operations")


def test_a_node_is_cordoned_with_a_reason_and_opened_again(world, admin):
    answer = admin.post(desk("cordon", world.node.pk), {"reason": "new disk"})
    assert said(answer) == ["node-1 takes no new machines."]
    assert "new disk" in words(admin.get(desk("nodes")))
    refused = world.browser("alice").post(
        reverse("vms:new"),
        {
            "name": "web-1", "image": "micro", "flavor": "nano", "project": "harbor", "start": "on",
            "request_key": "5f0c1b9e-6d0a-4c1f-9a57-9d0a3a1b2c3d",
        },
    )  # fmt: skip
    assert "No node takes new machines right now" in words(refused)
    admin.post(desk("uncordon", world.node.pk))
    assert not Node.objects.get().cordoned
    actions = list(AuditEntry.objects.filter(target_kind="node").values_list("action", flat=True))
    assert actions == ["node.uncordon", "node.cordon"]


def test_a_reason_that_is_too_long_stays_in_its_dialog(world, admin):
    answer = admin.post(desk("cordon", world.node.pk), {"reason": "x" * 201}, headers=SCRIPT)
    assert (answer.status_code, field(answer, "reason")) == (422, "x" * 201)


def test_capacity_counts_what_runs_and_what_is_promised(world, admin):
    world.vm("web-1", flavor="medium")
    world.vm("web-2", flavor="small", start=False)
    page = words(admin.get(desk("capacity")))
    assert "2 running, 3 allocated, of 64; quotas promise 96" in page
    assert "100 GiB in use of 500 GiB; machines' disks may grow to 24 GiB" in page


# --- the audit trail ----------------------------------------------------------------------------------------
def test_the_trail_says_who_did_what(world, admin):
    vm = world.vm("web-1", by="bob")
    services.request_stop(world.actor("alice"), vm.pk)
    page = words(admin.get(desk("audit")))
    assert "alice asked web-1 to shut down" in page
    assert "bob created web-1" in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"who": "BOB"}, ["vm.create"]),
        ({"action": "vm."}, ["vm.stop", "vm.create"]),
        ({"action": "node."}, []),
        ({"q": "web-1"}, ["vm.stop", "vm.create"]),
        ({"q": "web-1", "who": "alice"}, ["vm.stop"]),
        ({"day": "2001-01-01"}, []),
        ({"who": "b\x00ob", "q": "\x00"}, ["vm.create"]),
    ],
)
def test_the_trail_is_searched(world, admin, query, expected):
    vm = world.vm("web-1", by="bob")
    services.request_stop(world.actor("alice"), vm.pk)
    lines = admin.get(desk("audit"), query).context["lines"]
    assert [line.entry.action for line in lines] == expected


def test_an_action_without_a_sentence_is_still_shown(world, admin):
    AuditEntry.objects.create(actor_name="alice", via="session", action="vm.teleport", target_name="web-1")
    assert "alice: vm.teleport web-1" in words(admin.get(desk("audit")))


def test_every_recorded_action_has_a_sentence():
    recorded = {f"vm.{kind}" for kind in OperationKind.values}
    for folder in ("accounts", "vms", "sandboxes", "console", "portal"):
        for path in Path(settings.BASE_DIR, folder).rglob("*.py"):
            recorded |= set(re.findall(r"record\(\s*\w+,\s*\"([a-z]+\.[a-z_]+)\"", path.read_text()))
    assert recorded - SENTENCES.keys() == set()


def test_the_nodes_say_how_long_their_queue_is_and_since_when_its_oldest_waits(world, django_assert_num_queries):
    page = world.browser("admin")
    assert "Operations 0 waiting, 0 under way, 0 parked Waiting since" in words(page.get("/admin-desk/nodes/"))
    for name in ("web-1", "web-2", "web-3"):
        world.vm(name, drain=False)
    waiting, parked, running = Operation.objects.order_by("created_at")
    earlier = timezone.now() - timedelta(hours=1)
    Operation.objects.filter(pk=parked.pk).update(created_at=earlier, not_before=timezone.now() + timedelta(minutes=1))
    Operation.objects.filter(pk=running.pk).update(created_at=earlier, status=OperationStatus.RUNNING)
    shown = page.get("/admin-desk/nodes/").content.decode()
    assert "1 waiting, 1 under way, 1 parked" in shown
    assert waiting.created_at.isoformat(timespec="seconds")[:16] in shown.partition("<dt>Waiting since</dt>")[2]
    with django_assert_num_queries(4):
        [view] = overview.nodes()
    Node.objects.create(name="node-2", gateway_url="http://127.0.0.1:9")
    with django_assert_num_queries(4):
        assert {view.node.name: view.queue.waiting for view in overview.nodes()} == {"node-1": 1, "node-2": 0}
    assert (view.queue.waiting, view.queue.running, view.queue.parked) == (1, 1, 1)


def test_the_lease_of_what_is_under_way_stands_in_the_list_of_operations(world, admin):
    vm = world.vm()
    _vm, operation = services.request_stop(world.actor("alice"), vm.pk)
    expires = timezone.now() + timedelta(seconds=15)
    Operation.objects.filter(pk=operation.pk).update(
        status=OperationStatus.RUNNING, lease_owner="node-1:4711:ab", lease_expires_at=expires, fence=7, takeovers=2
    )
    page = admin.get(desk("operations") + "?filter=live")
    assert "Worker node-1:4711:ab Lease until" in words(page)
    assert "Workers lost 2 Fence 7" in words(page)
    assert expires.isoformat(timespec="milliseconds")[:19] in page.content.decode()
