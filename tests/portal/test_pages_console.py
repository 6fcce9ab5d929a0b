"""The console page: for whom, with which policy, and what it says of the machine."""

import re

import pytest
from django.urls import reverse

from tests.portal.pages import words
from vms import services
from vms.models import Node, VirtualMachine
from vms.presenting.fragments import render


def page(vm, kind=""):
    return reverse("vms:console", args=[vm.pk]) + (f"?kind={kind}" if kind else "")


def part(policy, name):
    return next(found for found in policy.split("; ") if found.startswith(name))


def state(response):
    return re.search(r'data-open="(\w+)"', response.content.decode()).group(1)


@pytest.mark.parametrize(
    ("name", "status"), [("alice", 200), ("bob", 200), ("dana", 403), ("charlie", 404), ("admin", 403)]
)
def test_who_may_type_may_open_it(world, name, status):
    assert world.browser(name).get(page(world.vm())).status_code == status


def test_a_viewer_and_staff_are_told_why_not(world):
    vm = world.vm()
    assert "Your role in this project is too small" in words(world.browser("dana").get(page(vm)))
    assert "Staff open consoles only of projects that they are members of." in words(
        world.browser("admin").get(page(vm))
    )


def test_a_running_machine_opens_at_once_and_a_stopped_one_offers_to_start(world):
    vm = world.vm()
    assert state(world.browser("alice").get(page(vm))) == "yes"
    services.request_force_off(world.actor("alice"), vm.pk)
    world.drain()
    shown = world.browser("alice").get(page(vm))
    assert state(shown) == "no"
    body = shown.content.decode()
    assert "web-1 is off" in body
    assert reverse("vms:power", args=[vm.pk, "start"]) in body


def test_only_the_console_page_lets_styles_bear_a_nonce(world):
    vm = world.vm()
    shown = world.browser("alice").get(page(vm))
    policy = shown["Content-Security-Policy"]
    nonce = re.search(r"'nonce-([^']+)'", part(policy, "style-src")).group(1)
    assert f"'nonce-{nonce}'" in part(policy, "script-src")
    assert f'nonce="{nonce}"' in shown.content.decode()
    other = world.browser("alice").get(reverse("vms:detail", args=[vm.pk]))["Content-Security-Policy"]
    assert part(other, "style-src") == "style-src 'self'"
    assert "unsafe" not in policy + other


def test_the_page_may_reach_the_gateway_of_its_node(world):
    Node.objects.update(gateway_url="https://gw-7.example:8443")
    policy = world.browser("alice").get(page(world.vm()))["Content-Security-Policy"]
    assert "wss://gw-7.example:8443" in part(policy, "connect-src")


@pytest.mark.parametrize(("kind", "shown"), [("", "vnc"), ("serial", "serial"), ("vnc", "vnc"), ("x", "vnc")])
def test_the_kind_is_chosen_by_the_address(world, kind, shown):
    body = world.browser("alice").get(page(world.vm(), kind)).content.decode()
    assert f'data-kind="{shown}" data-ticket' in body


def test_the_pushed_state_is_that_of_the_page(world):
    vm = world.vm()
    fragment = render("console", world.alice, vm.pk)
    assert fragment.target == f"console-{vm.pk}"
    squeeze = lambda html: re.sub(r"\s+", " ", html)  # noqa: E731
    assert squeeze(fragment.html).strip() in squeeze(world.browser("alice").get(page(vm)).content.decode())


def test_power_beside_the_screen_offers_what_is_legal_now(world):
    vm = world.vm()
    offered = re.findall(r"/power/([\w-]+)|/(force-off)", render("console", world.alice, vm.pk).html)
    assert {a or b for a, b in offered} == {"stop", "reboot", "pause", "force-off"}
    VirtualMachine.objects.filter(pk=vm.pk).update(observed_state="paused", desired_state="paused")
    offered = re.findall(r"/power/([\w-]+)|/(force-off)", render("console", world.alice, vm.pk).html)
    assert {a or b for a, b in offered} == {"resume", "force-off"}


def test_a_machine_whose_node_is_away_promises_nothing(world):
    vm = world.vm()
    Node.objects.update(synced_at=None)
    shown = world.browser("alice").get(page(vm))
    assert state(shown) == "no"
    assert "We cannot see this machine right now" in shown.content.decode()
