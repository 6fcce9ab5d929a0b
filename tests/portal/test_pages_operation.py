"""The page of an operation: its steps and their times, why it ended, what can be pressed, and who may look."""

import re
from datetime import timedelta
from html import unescape
from uuid import uuid4

import pytest
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from hypervisor.errors import BadSpec, NoSpace
from sandboxes.services import request_prepare, request_reset
from tests.portal.lab import make_lab
from tests.portal.test_machine_pages import SCRIPT, text
from vms import services
from vms.models import Operation, VirtualMachine
from vms.presenting.operation_page import render_operation
from vms.presenting.operations import OperationCard
from vms.presenting.outcomes import WAYS_OUT
from vms.states import OperationStatus


def address(operation):
    return reverse("operation", args=[operation.pk])


def newest(vm, kind):
    return Operation.objects.filter(vm=vm.pk, kind=kind).order_by("-created_at").first()


def shown(world, operation, name="alice", **options):
    response = world.browser(name).get(address(operation), **options)
    assert response.status_code == 200
    return response


def pressed(response):
    """Return {words of a button: where it leads} of the page's own buttons."""
    html = response.content.decode().partition('id="op-acts"')[2].partition('class="sw-cols"')[0]
    found = re.findall(r'(?:formaction|href)="(/[^"]+)"[^>]*>(.*?)</(?:button|a)>', html, re.S)
    return {" ".join(unescape(re.sub(r"<[^>]+>", " ", words)).split()): url for url, words in found}


def steps(response):
    """Return [(state, words)] of the page's steps."""
    html = response.content.decode().partition('class="sw-steps"')[2].partition("</ol>")[0]
    found = re.findall(r'<li class="(\w+)"[^>]*>(.*?)</li>', html, re.S)
    return [(state, " ".join(unescape(re.sub(r"<[^>]+>", " ", words)).split())) for state, words in found]


@pytest.fixture
def failed_create(world):
    """A create that the full pool ended at its disk."""
    world.hypervisor.fail_next("ensure_volume", NoSpace("no space left on device /dev/sdx"))
    return world.vm("web-1")


def test_every_step_stands_there_with_its_time(world):
    vm = world.vm()
    operation = newest(vm, "create")
    Operation.objects.filter(pk=operation.pk).update(step_times=[["disk", 1.4], ["domain", 0.3]])
    response = shown(world, operation, "dana")
    lines = {words.partition(":")[0]: words for _state, words in steps(response)}
    assert {state for state, _words in steps(response)} == {"done"}
    assert len(steps(response)) == len(OperationCard(operation).steps)
    assert "1.4 s" in next(words for name, words in lines.items() if "isk" in name).replace("\u00a0", " ")
    words = text(response)
    for fact in ("Created: web-1", "Done", "harbor", "node-1", "alice", "Attempts 1", str(operation.pk)[:13]):
        assert fact in words, fact
    assert reverse("vms:detail", args=[vm.pk]) in response.content.decode()
    assert not pressed(response)


def test_a_failure_says_why_what_to_do_and_offers_it(world, failed_create):
    operation = newest(failed_create, "create")
    response = shown(world, operation)
    words = text(response)
    assert "The storage pool or the node is full. An admin has to make room." in words
    assert str(WAYS_OUT["pool_full"]) in words
    [(state, line)] = [(state, line) for state, line in steps(response) if state not in ("done", "todo")]
    assert state == "fail"
    assert "failed" in line
    assert re.search(r"\d+ (ms|s)", line.replace("\u00a0", " ")), "how long the step was tried"
    again, clean = reverse("vms:again", args=[failed_create.pk]), reverse("vms:delete", args=[failed_create.pk])
    assert pressed(response) == {"Try again": again, "Clean up": clean}
    assert not pressed(shown(world, operation, "dana")), "a viewer may look"


def test_try_again_leads_on_and_the_old_page_says_so(world, failed_create):
    old = newest(failed_create, "create")
    said = world.browser("alice").post(reverse("vms:again", args=[failed_create.pk]), headers=SCRIPT).json()
    now = newest(failed_create, "create")
    assert now.pk != old.pk
    assert said["follow"] == address(now)
    response = shown(world, old)
    assert not pressed(response)
    assert address(now) in response.content.decode()
    assert pressed(shown(world, now)) == {"Cancel": reverse("vms:cancel", args=[now.pk])}
    world.drain()
    assert shown(world, now).content.decode().count('class="done"') == len(OperationCard(now).steps)


def test_a_stop_that_the_guest_ignored_can_be_asked_again_or_forced(world, settings):
    settings.STOP_WAIT = timedelta(0)
    vm = world.vm()
    world.hypervisor.set_deaf(vm.domain_uuid)
    services.request_stop(world.actor("bob"), vm.pk)
    world.drain()
    response = shown(world, newest(vm, "stop"), "bob")
    assert "by you" in text(response)
    assert pressed(response) == {
        "Try again": reverse("vms:power", args=[vm.pk, "stop"]),
        "Force off": reverse("vms:force-off", args=[vm.pk]),
    }


def test_lease_and_worker_are_for_staff(world, failed_create):
    operation = newest(failed_create, "create")
    Operation.objects.filter(pk=operation.pk).update(lease_owner="node-1:4711", lease_expires_at=Now(), takeovers=3)
    for name, sees in {"alice": False, "admin": True}.items():
        words = text(shown(world, operation, name))
        for secret in ("node-1:4711", "no space left on device", "Workers lost 3", "Fence"):
            assert (secret in words) is sees, (name, secret)


def test_an_attempt_that_failed_says_when_the_next_one_comes(world):
    vm = world.vm()
    _vm, operation = services.request_stop(world.actor("alice"), vm.pk)
    Operation.objects.filter(pk=operation.pk).update(
        attempt=2, step="stopped", step_at=Now(), not_before=timezone.now() + timedelta(minutes=1)
    )
    words = text(shown(world, operation))
    assert "Attempts 2" in words
    assert "Tried again" in words
    assert "Attempt 2." in words


def test_the_page_outlives_the_machine_and_the_right_to_see_it_does_not_grow(world):
    vm = world.vm()
    create = newest(vm, "create")
    services.request_delete(world.actor("alice"), vm.pk)
    world.drain()
    assert not VirtualMachine.objects.filter(pk=vm.pk).exists()
    for operation in (create, newest(vm, "delete")):
        response = shown(world, operation)
        assert "It is no longer there." in text(response)
        assert reverse("vms:detail", args=[vm.pk]) not in response.content.decode()
        assert not pressed(response)
        strange = world.browser("charlie").get(address(operation))
        nowhere = world.browser("charlie").get(reverse("operation", args=[uuid4()]))
        assert strange.status_code == nowhere.status_code == 404


def test_what_failed_of_a_machine_that_has_gone_asks_for_nothing(world, failed_create):
    create = newest(failed_create, "create")
    services.request_delete(world.actor("alice"), failed_create.pk)
    world.drain()
    response = shown(world, create)
    assert str(WAYS_OUT["vm_gone"]) in text(response)
    assert not pressed(response)


def test_a_reset_of_a_sandbox_that_failed_is_tried_again_there(world):
    lab = make_lab(world)
    lab.prepared()
    sandbox = lab.sandbox()
    request_reset(world.actor("alice"), sandbox.vm_id)
    operation = lab.operation(sandbox)
    Operation.objects.filter(pk=operation.pk).update(
        status=OperationStatus.FAILED, error_code="guest_timeout", error_detail="It did not answer.", finished_at=Now()
    )
    response = shown(world, operation)
    assert pressed(response) == {
        "Try again": reverse("sandboxes:reset", args=[sandbox.vm_id]),
        "Clean up": reverse("sandboxes:delete", args=[sandbox.vm_id]),
    }
    assert reverse("sandboxes:detail", args=[sandbox.vm_id]) in response.content.decode()


def test_a_sandbox_that_could_not_be_made_is_cleaned_up_there(world):
    lab = make_lab(world)
    lab.prepared()
    world.hypervisor.fail_next("clone", BadSpec("no"), times=9)
    sandbox = lab.sandbox()
    operation = lab.operation(sandbox)
    assert operation.status == OperationStatus.FAILED
    assert pressed(shown(world, operation)) == {"Clean up": reverse("sandboxes:delete", args=[sandbox.vm_id])}


def test_a_template_that_could_not_be_prepared_is_prepared_again_by_staff(world):
    lab = make_lab(world)
    world.hypervisor.fail_next("define", BadSpec("no"), times=9)
    request_prepare(world.actor("admin"), lab.template.pk)
    world.drain()
    operation = Operation.objects.get(kind="prepare")
    assert operation.status == OperationStatus.FAILED
    again = reverse("sandboxes:prepare", args=[lab.template.pk])
    assert pressed(shown(world, operation, "admin")) == {"Try again": again}


def test_other_pages_lead_there(world, failed_create):
    operation = newest(failed_create, "create")
    pages = {
        "alice": [reverse("vms:detail", args=[failed_create.pk]), reverse("home")],
        "admin": [reverse("desk:home"), reverse("desk:operations")],
    }
    for name, urls in pages.items():
        for url in urls:
            assert f'href="{address(operation)}"' in world.browser(name).get(url).content.decode(), url
    plain = world.browser("alice").post(reverse("vms:again", args=[failed_create.pk]), follow=True)
    assert f'href="{address(newest(failed_create, "create"))}"' in plain.content.decode(), "the toast"


def test_the_pushed_fragment_is_the_page(world, failed_create):
    operation = newest(failed_create, "create")
    pushed = render_operation(world.alice, operation.pk)
    assert pushed.target == f"operation-{operation.pk}"
    squeeze = lambda html: re.sub(r"\s+", " ", html).strip()  # noqa: E731
    assert squeeze(pushed.html) in squeeze(shown(world, operation).content.decode())


def test_it_speaks_french(world, failed_create):
    response = shown(world, newest(failed_create, "create"), headers={"Accept-Language": "fr"})
    words = text(response)
    for english in ("Steps", "Try again", "Clean up", "Attempts", "About", "Asked for"):
        assert english not in words, english
    assert "Nettoyer" in words


def test_it_needs_no_exception_from_the_policy_and_few_queries(world, failed_create, django_assert_max_num_queries):
    operation = newest(failed_create, "create")
    browser = world.browser("admin")
    with django_assert_max_num_queries(30):
        html = browser.get(address(operation)).content.decode()
    assert not re.search(r"<[^>]+\s(style|on\w+)=", html)
