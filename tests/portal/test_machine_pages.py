"""The pages of machines: what each person sees and may press, with and without scripts."""

import re
from html import unescape

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from accounts.models import QuotaLimit
from vms import services
from vms.models import Operation, VirtualMachine
from vms.presenting.fragments import render
from vms.states import LIVE

SCRIPT = {"X-Slipway-Script": "1"}


def page(name, vm=None):
    return reverse(f"vms:{name}", args=[vm.pk] if vm else [])


def text(response):
    """The page's words, one blank between them."""
    body = response.content.decode().partition("<main")[2].partition("</main>")[0]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).replace("\u00a0", " ").split())


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def new_machine(**changes):
    form = {
        "request_key": "6f3c2c0e-2f0a-4a0e-9c64-000000000001",
        "name": "web-1",
        "project": "harbor",
        "image": "micro",
        "flavor": "nano",
        "start": "on",
    }
    return form | changes


def test_the_list_shows_mine_and_nobody_elses(world):
    world.vm("web-1")
    for name, seen in {"alice": True, "bob": True, "dana": True, "charlie": False}.items():
        assert ("web-1" in text(world.browser(name).get(page("list")))) is seen, name


def test_a_viewer_sees_no_button_that_would_be_refused(world):
    vm = world.vm()
    answers = {name: world.browser(name).get(page("detail", vm)).content.decode() for name in ("bob", "dana")}
    for offered in ("/power/stop", "/delete", "/force-off", "/console"):
        assert offered in answers["bob"]
        assert offered not in answers["dana"]


@pytest.mark.parametrize("name", ["list", "new", "detail", "delete", "edit", "resize", "force-off"])
def test_no_markup_needs_an_exception_from_the_policy(world, name):
    vm = world.vm() if name not in ("list", "new") else None
    response = world.browser("alice").get(page(name, vm))
    html = response.content.decode()
    assert "unsafe" not in response["Content-Security-Policy"]
    assert not re.search(r"<[^>]+\s(style|on\w+)=", html)
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)


def test_the_pushed_row_is_the_row_of_the_page(world):
    vm = world.vm()
    rendered = render("row", world.alice, vm.pk, show_project=True)
    assert rendered.target == f"row-{vm.pk}"
    pages = world.browser("alice").get(page("list")).content.decode()
    squeeze = lambda html: re.sub(r"\s+", " ", html)  # noqa: E731
    assert squeeze(rendered.html).strip() in squeeze(pages)


def test_stop_is_asked_by_script_and_by_plain_form(world):
    vm = world.vm()
    url = reverse("vms:power", args=[vm.pk, "stop"])
    answer = world.browser("alice").post(url, headers=SCRIPT)
    begun = Operation.objects.get(vm=vm, kind="stop")
    follow = reverse("operation", args=[begun.pk])
    assert answer.json() == {"say": "web-1 is asked to shut down. It has 60 s.", "follow": follow}
    world.drain()
    url = reverse("vms:power", args=[vm.pk, "start"])
    plain = world.browser("alice").post(url, {"next": page("list")})
    assert (plain.status_code, plain["Location"]) == (302, page("list"))
    assert said(plain) == ["web-1 is starting."]


def test_an_act_never_leads_to_another_site(world):
    vm = world.vm()
    url = reverse("vms:power", args=[vm.pk, "stop"])
    answer = world.browser("alice").post(url, {"next": "https://elsewhere.invalid/"})
    assert answer["Location"] == reverse("home")


def test_a_refusal_is_a_sentence(world):
    vm = world.vm()
    answer = world.browser("alice").post(reverse("vms:power", args=[vm.pk, "start"]), headers=SCRIPT)
    assert answer.status_code == 409
    assert answer.json()["kind"] == "bad"
    assert answer.json()["code"] == "invalid_state"
    assert world.browser("alice").get(reverse("vms:power", args=[vm.pk, "start"])).status_code == 405


def test_the_stepper_shows_a_live_operation_below_the_observed_status(world):
    vm = world.vm()
    services.request_stop(world.actor("alice"), vm.pk)
    words = text(world.browser("alice").get(page("detail", vm)))
    assert words.index("Running") < words.index("Stopping") < words.index("Waiting for the node to take it")


def test_delete_wants_the_name(world):
    vm = world.vm()
    alice = world.browser("alice")
    refused = alice.post(page("delete", vm), {"sure": "web-2"}, headers=SCRIPT)
    assert refused.status_code == 422
    assert "exactly" in refused.content.decode()
    assert not Operation.objects.filter(vm=vm, kind="delete").exists()
    assert alice.post(page("delete", vm), {"sure": "web-1"}, headers=SCRIPT).json()["say"]
    world.drain()
    assert alice.get(page("detail", vm)).status_code == 404


def test_rename_shows_what_is_wrong_where_it_is_wrong(world):
    vm, other = world.vm("web-1"), world.vm("web-2")
    answer = world.browser("bob").post(page("edit", vm), {"name": other.name}, headers=SCRIPT)
    assert answer.status_code == 422
    assert 'id="id_name_error"' in answer.content.decode()
    assert world.browser("bob").post(page("edit", vm), {"name": "web-3", "description": "x"}).status_code == 302
    vm.refresh_from_db()
    assert (vm.name, vm.description) == ("web-3", "x")


def test_a_form_sent_twice_makes_one_machine(world):
    alice = world.browser("alice")
    first = alice.post(page("new"), new_machine())
    again = alice.post(page("new"), new_machine())
    assert first["Location"] == again["Location"]
    assert VirtualMachine.objects.count() == 1
    assert said(first) == ["Creating web-1. You can watch it boot."]


def test_what_was_typed_is_kept_and_every_mistake_named(world):
    typed = new_machine(name="Web_1", image="none", ssh_keys="rubbish", user_data="#!/bin/sh\necho é")
    answer = world.browser("alice").post(page("new"), typed)
    assert answer.status_code == 422
    html = unescape(answer.content.decode())
    for kept in ("Web_1", "rubbish", "echo é"):
        assert kept in html
    for field in ("name", "ssh_keys"):
        assert f'id="id_{field}_error"' in html
    assert not VirtualMachine.objects.exists()


def test_a_quota_refusal_names_figures_and_who_could_make_room(world):
    vm = world.vm("old-1", flavor="medium")
    QuotaLimit.objects.filter(project=world.harbor, dimension="memory_mib").update(limit=1536)
    answer = world.browser("alice").post(page("new"), new_machine(flavor="medium"))
    words = text(answer)
    assert answer.status_code == 422
    assert "Memory: harbor may use 1.5 GiB and uses 1 GiB. This needs 1 GiB, so 512 MiB are missing." in words
    assert page("detail", vm) in answer.content.decode()


def test_several_at_once_count_what_was_done_and_say_what_was_not(world):
    running = world.vm("web-1")
    stopped = world.vm("web-2", start=False)
    foreign = world.vm("web-3", by="charlie", project=None)
    bulk = {"vm": [str(vm.pk) for vm in (running, stopped, foreign)]}
    answer = world.browser("alice").post(reverse("vms:bulk", args=["stop"]), bulk, headers=SCRIPT)
    assert answer.json()["say"].startswith("1 machine is asked to shut down. 2 could not:")
    assert Operation.objects.filter(status__in=LIVE).get().vm_id == running.pk


def test_several_are_deleted_only_after_their_number(world):
    vms = [world.vm(f"web-{n}") for n in range(2)]
    alice = world.browser("alice")
    url = reverse("vms:bulk-delete")
    asked = alice.get(url, {"vm": [str(vm.pk) for vm in vms]}, headers=SCRIPT).content.decode()
    assert "Delete 2 machines?" in asked
    assert alice.post(url, {"vm": [str(vm.pk) for vm in vms], "sure": "1"}, headers=SCRIPT).status_code == 422
    assert not Operation.objects.filter(kind="delete").exists()
    answer = alice.post(url, {"vm": [str(vm.pk) for vm in vms], "sure": "2"}, headers=SCRIPT)
    assert answer.json()["say"] == "2 machines are being deleted."


def test_the_palette_finds_machines_and_the_verbs_that_fit(world):
    world.vm("web-1")
    found = world.browser("alice").get(page("search"), {"q": "web"}).json()["results"]
    assert found[0]["text"] == "web-1"
    assert {"Open console of web-1", "Stop: web-1", "Delete: web-1"} <= {entry["text"] for entry in found}
    assert world.browser("charlie").get(page("search"), {"q": "web"}).json() == {"results": []}
    assert world.browser("alice").get(page("search"), {"q": "w"}).json() == {"results": []}


def test_a_machine_whose_node_is_away_is_unknown_and_offers_no_power(world):
    vm = world.vm()
    world.node.synced_at = None
    world.node.save()
    response = world.browser("alice").get(page("detail", vm))
    assert "Unknown" in text(response)
    assert "/power/" not in response.content.decode()


def test_the_chosen_project_is_remembered_and_never_a_foreign_one(world):
    world.vm("web-1")
    world.vm("own-1", project=None)
    alice = world.browser("alice")
    alice.get(page("list"), {"project": "harbor"})
    assert "own-1" not in text(alice.get(page("list")))
    alice.get(page("list"), {"project": "charlie"})
    assert "own-1" not in text(alice.get(page("list")))
    alice.get(page("list"), {"project": ""})
    assert "own-1" in text(alice.get(page("list")))


def test_queries_do_not_grow_with_the_list(world, django_assert_max_num_queries):
    for n in range(3):
        world.vm(f"web-{n}")
    alice = world.browser("alice")
    alice.get(page("list"))
    with django_assert_max_num_queries(17) as few:
        alice.get(page("list"))
    for n in range(3, 8):
        world.vm(f"web-{n}")
    with django_assert_max_num_queries(len(few.captured_queries)):
        alice.get(page("list"))
