"""What machines use: rates between two samples, in a constant number of queries, gone when they stop."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from hypervisor.specs import DomainFacts, DomainState
from vms import sampling
from vms.models import Sample

START = timezone.now()


def facts(vm, **more):
    known = {
        "cpu_time_ns": 10 * 10**9,
        "vcpus": 2,
        "memory_used_mib": 100,
        "disk_read_bytes": 1000,
        "net_sent_bytes": 0,
    }
    return DomainFacts(vm.domain_uuid, "domain", DomainState.RUNNING, **(known | more))


def test_rates_are_made_from_two_samples(world):
    vm = world.vm()
    sampling.store(world.node, [facts(vm)], START)
    first = Sample.objects.get()
    assert (first.cpu_percent, first.memory_used_mib, first.disk_bytes_per_second) == (None, 100, None)
    later = facts(vm, cpu_time_ns=25 * 10**9, disk_read_bytes=31_000, net_sent_bytes=3000, memory_used_mib=120)
    sampling.store(world.node, [later], START + timedelta(seconds=30))
    sample = Sample.objects.get()
    # 15 s of processor time in 30 s on 2 processors
    assert (sample.cpu_percent, sample.memory_used_mib) == (25.0, 120)
    assert (sample.disk_bytes_per_second, sample.net_bytes_per_second) == (1000, 100)
    load = world.api("alice").call("GET", f"vms/{vm.pk}").json()["load"]
    assert (load["cpu_percent"], load["memory_used_mib"]) == (25.0, 120)
    page = world.browser("alice", SERVER_NAME="127.0.0.1").get(f"/vms/{vm.pk}/").content.decode()
    assert "25\u00a0%" in page
    assert "120\u00a0MiB" in page


@pytest.mark.parametrize("change", [{"cpu_time_ns": 5}, {"cpu_time_ns": 10 * 10**9}])
def test_counters_that_began_again_give_no_rate_below_zero(world, change):
    vm = world.vm()
    sampling.store(world.node, [facts(vm)], START)
    sampling.store(world.node, [facts(vm, **change)], START + timedelta(seconds=30))
    assert Sample.objects.get().cpu_percent in (None, 0.0)


def test_a_machine_that_stopped_has_no_sample(world):
    vm = world.vm()
    sampling.store(world.node, [facts(vm)], START)
    sampling.store(world.node, [replace(facts(vm), state=DomainState.STOPPED)], START + timedelta(seconds=30))
    assert not Sample.objects.exists()
    assert world.api("alice").call("GET", f"vms/{vm.pk}").json()["load"] is None


def test_the_number_of_queries_does_not_grow(world, django_assert_num_queries):
    vms = [world.vm(f"v-{n}") for n in range(5)]
    sampling.store(world.node, [facts(vm) for vm in vms], START)
    with django_assert_num_queries(3):
        sampling.store(world.node, [facts(vm) for vm in vms], START + timedelta(seconds=30))


def test_a_domain_of_nobody_is_left_out(world):
    vm = world.vm()
    stranger = replace(facts(vm), uuid=vm.pk)
    sampling.store(world.node, [stranger], START)
    assert not Sample.objects.exists()
