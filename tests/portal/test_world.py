"""The world that portal tests stand on does what real parts do."""

from vms.states import OperationStatus


def test_a_created_machine_runs_and_a_deleted_one_leaves_nothing(world):
    vm = world.vm()
    assert vm.observed_state == "running"
    assert vm.operations.get().status == OperationStatus.SUCCEEDED
    assert world.hypervisor.domain(vm.domain_uuid) is not None
    from vms import services

    services.request_delete(world.actor("alice"), vm.pk)
    world.drain()
    assert world.hypervisor.domain(vm.domain_uuid) is None
    assert world.hypervisor.volumes(world.pool.name) == []
