"""What the sweeps keep ready: clones that wait beside people's work, and templates that are tried again."""

from datetime import timedelta

import pytest

from accounts import clock
from hypervisor.errors import NoSpace
from sandboxes import services, sweeps
from sandboxes.models import Sandbox, Template, TemplateBuild
from tests.portal.lab import make_lab, stub_gateway
from vms.models import Operation, VirtualMachine
from vms.states import LIVE, Role


@pytest.fixture
def lab(world, monkeypatch):
    stub_gateway(monkeypatch)
    return make_lab(world)


# --- the pool and people's work -------------------------------------------------------------------------------
@pytest.fixture
def busy(lab):
    """Let three clones be wished for while somebody's sandbox is in the making, and goes on being so."""
    lab.prepared()
    lab.sandbox(drain=False)
    Template.objects.update(pool_size=3)


def pass_time(**span):
    """Let time pass for the pool that is short."""
    for build in TemplateBuild.objects.exclude(short_since=None):
        TemplateBuild.objects.filter(pk=build.pk).update(short_since=build.short_since - timedelta(**span))


def spares():
    return Sandbox.objects.filter(vm__role=Role.SPARE)


def end_spares():
    """Let the spares that are in the making be done, and people's work go on."""
    Operation.objects.filter(kind="spare", status__in=LIVE).update(
        status="succeeded", finished_at=clock.now(), lease_owner="", lease_expires_at=None
    )
    VirtualMachine.objects.filter(role=Role.SPARE).update(observed_state="paused", desired_state="paused")


def test_a_pool_gives_way_to_peoples_work_for_a_while(lab, busy):
    assert sweeps.tend_pools() == (0, 0)
    pass_time(seconds=25)
    assert sweeps.tend_pools() == (0, 0)
    lab.world.drain()
    assert sweeps.tend_pools() == (2, 0)


def test_steady_work_of_people_starves_no_pool(lab, busy):
    sweeps.tend_pools()
    pass_time(seconds=31)
    for number in (1, 2, 3):
        assert [sweeps.tend_pools()[0] for _time in range(3)] == [1, 0, 0]  # one at a time
        assert spares().count() == number
        end_spares()
    assert sweeps.tend_pools() == (0, 0)
    assert TemplateBuild.objects.get(status="ready").short_since is None


def test_a_pool_that_was_full_gives_way_anew(lab, busy):
    sweeps.tend_pools()
    pass_time(seconds=31)
    lab.world.drain()
    while sweeps.tend_pools()[0]:
        lab.world.drain()
    assert spares().count() == 3
    lab.sandbox("box-2", drain=False)  # claims one
    assert sweeps.tend_pools() == (0, 0)
    pass_time(seconds=31)
    assert sweeps.tend_pools() == (1, 0)


# --- templates that could not be prepared ---------------------------------------------------------------------
def fail_once(lab):
    lab.world.hypervisor.fail_next("freeze", NoSpace("full"))
    lab.world.drain()


def an_hour_later():
    for build in TemplateBuild.objects.all():
        TemplateBuild.objects.filter(pk=build.pk).update(created_at=build.created_at - timedelta(hours=1))


def test_a_template_without_a_pool_that_failed_is_tried_again_after_an_hour(lab):
    assert sweeps.tend_builds() == 0  # nobody asked for it
    services.request_prepare(lab.world.actor("admin"), lab.template.pk)
    fail_once(lab)
    assert TemplateBuild.objects.get().status == "failed"
    assert sweeps.tend_builds() == 0
    an_hour_later()
    assert sweeps.tend_builds() == 1
    lab.world.drain()
    assert TemplateBuild.objects.filter(status="ready").count() == 1
    an_hour_later()
    assert sweeps.tend_builds() == 0


def test_a_template_without_a_pool_is_not_tried_for_ever_but_on_request(lab):
    services.request_prepare(lab.world.actor("admin"), lab.template.pk)
    fail_once(lab)
    for _time in range(sweeps.TRIES - 1):
        an_hour_later()
        assert sweeps.tend_builds() == 1
        fail_once(lab)
    an_hour_later()
    assert sweeps.tend_builds() == 0
    services.request_prepare(lab.world.actor("admin"), lab.template.pk)
    lab.world.drain()
    assert TemplateBuild.objects.filter(status="ready").exists()
