"""Guests that do not boot, do not answer, or say too much: a reason in a sentence, and nothing is left behind."""

from datetime import timedelta

import pytest

from hypervisor.errors import AgentUnavailable
from hypervisor.specs import DomainState
from portal.invariants import evaluate
from portal.node_agent import frozen
from sandboxes import services, sweeps
from sandboxes.models import Template, TemplateBuild
from sandboxes.operations import prepare
from tests.portal.lab import make_lab, stub_gateway
from vms import quotas
from vms.models import VirtualMachine
from vms.states import Role

PNG = b"\x89PNG"
AGENT_SECONDS = 5


@pytest.fixture
def lab(world, monkeypatch, settings):
    settings.AGENT_WAIT = settings.READY_SCRIPT_WAIT = timedelta(seconds=0.05)
    stub_gateway(monkeypatch)
    return make_lab(world)


def mute(lab):
    builder = VirtualMachine.objects.get(role=Role.BUILDER)
    lab.world.hypervisor.set_mute(builder.domain_uuid)


def switch_off(lab, patch):
    def boot(ctx):
        lab.world.hypervisor.happen(ctx.vm.domain_uuid, DomainState.STOPPED, "shutdown")

    patch.setattr(prepare.create, "ensure_agent", boot)


def break_off_at(lab, patch, command):
    """Let the agent answer until it is asked this; longer answers than 64 KiB are none either."""
    really = lab.world.hypervisor.agent

    def agent(uuid, asked, arguments=None, timeout_seconds=5):
        if asked == command:
            raise AgentUnavailable("an answer of 100000000 characters")
        return really(uuid, asked, arguments, timeout_seconds)

    patch.setattr(lab.world.hypervisor, "agent", agent)


def cannot_be_written_to(lab, patch):
    lab.world.hypervisor.set_command(1, "")  # the script has not been begun
    break_off_at(lab, patch, "guest-file-write")


TROUBLES = {
    "it never answers": (lambda lab, _patch: mute(lab), "guest_timeout", True),
    "it switches itself off": (switch_off, "guest_stopped", False),
    "it falls silent, or floods": (lambda lab, patch: break_off_at(lab, patch, "guest-exec"), "guest_timeout", True),
    "it never says how a script ended": (
        lambda lab, patch: break_off_at(lab, patch, "guest-exec-status"), "guest_timeout", True,
    ),
    "it cannot be written to": (cannot_be_written_to, "guest_timeout", True),
    "its script fails": (lambda lab, _patch: lab.world.hypervisor.set_command(3, "3\n"), "ready_script_failed", True),
    "its script does not end": (lambda lab, _patch: lab.world.hypervisor.set_command(1, ""), "ready_timeout", True),
}  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_template_whose_guest_is_bad_says_why_with_its_last_screen(lab, monkeypatch, trouble):
    Template.objects.update(ready_script="#!/bin/sh\nexit 3\n", pool_size=1)
    services.request_prepare(lab.world.actor("admin"), "micro")
    befall, reason, seen = TROUBLES[trouble]
    with monkeypatch.context() as patch:
        befall(lab, patch)
        lab.world.drain()
    build = TemplateBuild.objects.get()
    assert (build.status, build.reason) == ("failed", reason)
    assert build.reason_detail.endswith(".")
    assert bytes(build.screenshot or b"").startswith(PNG) is seen
    assert not VirtualMachine.objects.exists()
    assert lab.world.hypervisor._host.domains == {}
    frozen.tend(lab.world.node, lab.world.hypervisor)
    assert evaluate(lab.world.hypervisor) == []
    assert sweeps.tend_pools() == (0, 0)  # nothing to make clones of
    assert set(quotas.usage(lab.world.harbor).values()) == {0}
    box = lab.sandbox()
    assert build.reason_detail in box.plain_reason


def test_no_message_to_an_agent_is_waited_for_longer_than_5_seconds_a15(lab, monkeypatch):
    waited = []
    really = lab.world.hypervisor.agent

    def agent(uuid, asked, arguments=None, timeout_seconds=5):
        waited.append(timeout_seconds)
        return really(uuid, asked, arguments, timeout_seconds)

    monkeypatch.setattr(lab.world.hypervisor, "agent", agent)
    Template.objects.update(ready_script="#!/bin/sh\n")
    lab.prepared()
    assert waited
    assert max(waited) <= AGENT_SECONDS


def test_a_clone_that_never_answers_says_so_and_can_be_reset_or_deleted(lab):
    lab.prepared()
    alice = lab.world.actor("alice")
    box = lab.sandbox(drain=False)
    run = lab.run(box)
    lab.world.hypervisor.set_mute(box.vm.domain_uuid)
    lab.world.drain()
    operation = lab.operation(box)
    assert (operation.status, operation.error_code) == ("failed", "guest_timeout")
    assert operation.error_detail.endswith(".")
    run.refresh_from_db()
    assert (run.status, run.error_code, run.error_detail) == ("failed", "sandbox_failed", operation.error_detail)
    assert evaluate(lab.world.hypervisor) == []
    services.request_reset(alice, box.vm_id)
    lab.world.drain()
    box = lab.again(box)
    assert (box.vm.observed_state, lab.operation(box).status) == ("running", "succeeded")
    services.request_delete(alice, box.vm_id)
    lab.world.drain()
    assert not VirtualMachine.objects.exists()
    assert evaluate(lab.world.hypervisor) == []


def test_a_spare_that_never_answers_goes_and_the_pool_is_filled_again(lab):
    lab.prepared()
    Template.objects.update(pool_size=1)
    sweeps.tend_pools()
    bad = VirtualMachine.objects.get(role=Role.SPARE)
    lab.world.hypervisor.set_mute(bad.domain_uuid)
    lab.world.drain()
    assert not VirtualMachine.objects.exists()
    assert lab.world.hypervisor._host.domains == {}
    assert evaluate(lab.world.hypervisor) == []
    assert len(lab.spares(1)) == 1
    assert lab.sandbox().claimed


def test_a_spare_that_falls_silent_when_it_is_handed_out(lab):
    lab.prepared()
    [spare] = lab.spares()
    box = lab.sandbox(drain=False)
    lab.world.hypervisor.set_mute(spare.vm.domain_uuid)
    lab.world.drain()
    assert (lab.operation(box).kind, lab.operation(box).error_code) == ("claim", "guest_timeout")
    assert len(lab.spares(1)) == 1
    services.request_delete(lab.world.actor("alice"), box.vm_id)
    lab.world.drain()
    assert quotas.usage(lab.world.harbor)["sandboxes"] == 0
    assert evaluate(lab.world.hypervisor) == []
