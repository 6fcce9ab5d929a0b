"""The portal's processes, its people and its misfortunes, on virtual time."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from accounts.refusals import Refusal
from accounts.services import set_limits
from hypervisor import errors
from hypervisor.specs import DomainEvent, DomainState
from portal.invariants import evaluate
from portal.node_agent.agent import RESYNC_SECONDS, RETRY_SECONDS, NodeAgent
from portal.node_agent.reaper import Reaper
from tests.portal.world import World
from tests.simulation.machinery import Process, Scheduler, TouchyHypervisor
from tests.simulation.moments import Moments
from vms import dispatch, following, quotas, services, sweeps
from vms.bells import BellTower
from vms.models import Node, Operation, VirtualMachine
from vms.operations import runner
from vms.operations.context import Context
from vms.operations.leases import LeaseKeeper
from vms.states import LIVE, DesiredState, OperationStatus

SLOTS = 3  # threads of a worker
RENEW_SECONDS = 5.0
VERBS = (
    "start",
    "start",
    "stop",
    "stop",
    "force_off",
    "reboot",
    "pause",
    "resume",
    "resize",
    "delete",
    "create_again",
    "pause",
    "reboot",
    "force_off",
    "start",
)


class _Keepers:
    """Stands for the one keeper that each process has."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def _mine(self) -> LeaseKeeper:
        fiber = self.scheduler.fiber
        assert fiber is not None
        return fiber.process.keeper

    def hold(self, lease: Any) -> None:
        self._mine()._held[lease.operation_id] = lease

    def drop(self, lease: Any) -> None:
        self._mine()._held.pop(lease.operation_id, None)


class Model:
    """One installation: two workers, a node agent, beat, and people who ask for things."""

    def __init__(self, world: World, scheduler: Scheduler, patch: pytest.MonkeyPatch) -> None:
        self.world, self.scheduler = world, scheduler
        self.chance = scheduler.chance
        self.hypervisor = TouchyHypervisor(world.hypervisor, scheduler)
        self.messages: list[UUID] = []
        self.acknowledged: set[UUID] = set()
        self.kills: dict[UUID, float] = {}
        self.repairs: list[float] = []
        self.calm = False
        self.names = 0
        self.moments = Moments(scheduler)
        self.moments.watch(patch)
        self.hypervisor.acting = self.moments.act
        self._replace(patch)
        self.workers = [Process("worker-1", counted=True), Process("worker-2", counted=True)]
        self.agent = Process("agent", self._agent)
        self.beat = Process("beat", self._beat)
        self.web = Process("web")
        world.hypervisor.listeners.append(self._event)
        for process in [*self.workers, self.agent, self.beat, self.web]:
            scheduler.start(process)
        scheduler.later(0.0, self._hand_out)
        scheduler.later(RENEW_SECONDS, self._renew)
        scheduler.later(1.0, self._look)

    def _look(self) -> None:
        self.moments.each_second(self.acknowledged)
        self.scheduler.later(1.0, self._look)

    def _replace(self, patch: pytest.MonkeyPatch) -> None:
        """Put virtual time, processes and bells where threads and Redis would be."""
        scheduler = self.scheduler
        patch.setattr(BellTower, "ring", lambda _self, bell: None)
        patch.setattr(dispatch, "ring_now", lambda operation_id, queue: self._ring(operation_id))
        patch.setattr(runner, "keeper", _Keepers(scheduler))
        patch.setattr(runner, "worker_name", self._worker_name)
        patch.setattr(runner, "Context", partial(Context, clock=lambda: scheduler.seconds, sleep=scheduler.sleep))
        really = runner.claim

        def claim(operation_id: UUID, owner: str) -> Any:
            lease = really(operation_id, owner)
            if lease is not None:
                scheduler.say(f"{owner} claims {str(operation_id)[:8]}")
                if operation_id in self.kills:
                    self.repairs.append(scheduler.seconds - self.kills.pop(operation_id))
            return lease

        patch.setattr(runner, "claim", claim)

    def _worker_name(self) -> str:
        fiber = self.scheduler.fiber
        assert fiber is not None
        return f"{fiber.process.label}:{fiber.process.fibers.index(fiber)}:{id(fiber) & 0xFFFF:x}"

    # --- bells and workers --------------------------------------------------------------------------------------
    def _ring(self, operation_id: UUID) -> None:
        copies = 1 if self.calm else self.chance.choices((0, 1, 2, 5), (25, 60, 10, 5))[0]
        for _copy in range(copies):
            late = 0.002 if self.calm else self.chance.choice((0.002, 0.002, 0.1, 3.0, 40.0))
            self.scheduler.later(late, partial(self.messages.append, operation_id))

    def _hand_out(self) -> None:
        """Give waiting messages to workers with a free thread, for ever."""
        for process in self.workers:
            standing = process.stopped_until > self.scheduler.seconds
            while self.messages and process.alive and not standing and len(process.fibers) < SLOTS:
                work = partial(self._work, self.messages.pop(0))
                self.scheduler.spawn(process, work)
        self.scheduler.later(0.05, self._hand_out)

    def _work(self, operation_id: UUID) -> None:
        runner.run(operation_id, self.hypervisor)  # type: ignore[arg-type]

    def _renew(self) -> None:
        for process in self.workers:
            if process.alive and process.keeper._held and process.stopped_until <= self.scheduler.seconds:
                self.scheduler.spawn(process, process.keeper.renew)
        self.scheduler.later(RENEW_SECONDS, self._renew)

    # --- the node agent and beat --------------------------------------------------------------------------------
    def _event(self, event: DomainEvent) -> None:
        if self.agent.alive and (self.calm or self.chance.random() > 0.3):
            self.agent.memory.setdefault("changed", []).append(event.uuid)

    def _agent(self, process: Process) -> None:
        agent = NodeAgent(self.hypervisor, events=None)  # type: ignore[arg-type]
        agent.node = Node.objects.get(pk=self.world.node.pk)
        agent._reaper = Reaper(agent.node, self.hypervisor)  # type: ignore[arg-type]
        self.scheduler.spawn(process, self._agent_rings, agent)
        changed = process.memory.setdefault("changed", [])
        while True:
            worked = self._safely(agent.resync)
            wait = self.scheduler.seconds + (RESYNC_SECONDS if worked else RETRY_SECONDS)
            while self.scheduler.seconds < wait:
                self.scheduler.sleep(0.1)
                while changed:
                    self._safely(partial(agent.observe_domain, changed.pop(0)))

    def _agent_rings(self, agent: NodeAgent) -> None:
        while True:
            self.scheduler.sleep(5.0)
            agent.ring()

    def _beat(self, process: Process) -> None:
        while True:
            self.scheduler.sleep(30.0)
            sweeps.end_overdue()
            sweeps.rank_by_nodes()
            sweeps.forget_old()

    @staticmethod
    def _safely(work: Callable[[], object]) -> bool:
        try:
            work()
        except errors.HypervisorError:
            return False
        return True

    # --- people -------------------------------------------------------------------------------------------------
    def person_asks(self) -> None:
        """Somebody asks for something, in a web process."""
        if self.web.alive:
            self.scheduler.spawn(self.web, self._ask)

    def _ask(self) -> None:
        actor = self.world.actor(self.chance.choice(("alice", "bob")))
        rows = list(VirtualMachine.objects.order_by("name").values_list("pk", flat=True))
        try:
            if len(rows) < 3 or self.chance.random() < 0.12:
                self.names += 1
                new = services.NewVm(
                    name=f"v-{self.names}",
                    image="micro",
                    flavor="nano",
                    project="harbor",
                    start=self.chance.random() < 0.8,
                )
                operation = services.request_create(actor, new)[1]
            elif self.chance.random() < 0.1:
                live = Operation.objects.filter(status__in=LIVE).order_by("created_at").first()
                if live is not None:
                    services.request_cancel(actor, live.pk)
                return
            else:
                operation = self._verb(actor, self.chance.choice(rows))
        except Refusal:
            return
        self.acknowledged.add(operation.pk)
        self.scheduler.say(f"{operation.kind} of {operation.vm_name} is {str(operation.pk)[:8]}")

    def _verb(self, actor: Any, vm_id: UUID) -> Operation:
        verb = self.chance.choice(VERBS)
        more = (self.chance.choice(("small", "medium")),) if verb == "resize" else ()
        answer = getattr(services, f"request_{verb}")(actor, vm_id, *more)
        return answer[1] if isinstance(answer, tuple) else answer

    def admin_sets_limits(self) -> None:
        limit = self.chance.choice((0, 2, 10))
        self.scheduler.spawn(
            self.web, partial(set_limits, self.world.actor("admin"), self.world.harbor, {"running_vms": limit})
        )

    # --- misfortunes --------------------------------------------------------------------------------------------
    def misfortune(self) -> None:
        """One of the things that go wrong, by chance."""
        self.chance.choice(
            (
                self._kill_one, self._kill_one, self._kill_one, self._stop_one, self._go_away, self._be_moody,
                self._virsh, self._virsh, self._guest, self.admin_sets_limits, self._flush,
            )
        )()  # fmt: skip

    def _kill_one(self) -> None:
        busy = [process for process in self.workers if process.keeper._held]
        process = self.chance.choice([*busy * 6, *self.workers, self.agent, self.beat, self.web])
        for operation_id in process.keeper._held:
            self.kills.setdefault(operation_id, self.scheduler.seconds)
        self.scheduler.kill(process)
        self.scheduler.later(self.chance.uniform(0.5, 6.0), partial(self._again, process))

    def _again(self, process: Process) -> None:
        if not process.alive:
            self.scheduler.start(process)

    def _stop_one(self) -> None:
        busy = [process for process in self.workers if process.keeper._held]
        process = self.chance.choice([*busy * 3, *self.workers, self.agent])
        if process.alive:
            self.scheduler.stop(process, self.chance.uniform(1.0, 50.0))

    def _go_away(self) -> None:
        self.scheduler.say("the hypervisor goes away")
        self.world.hypervisor.set_away(True)
        self.scheduler.later(self.chance.uniform(1.0, 60.0), partial(self.world.hypervisor.set_away, False))

    def _be_moody(self) -> None:
        self.scheduler.say("the hypervisor is moody")
        self.hypervisor.moods = 0.15
        self.scheduler.later(self.chance.uniform(1.0, 30.0), partial(setattr, self.hypervisor, "moods", 0.0))

    def _flush(self) -> None:
        self.scheduler.say("all messages are lost")
        self.messages.clear()

    def _domain(self) -> UUID | None:
        domains = sorted(self.world.hypervisor._host.domains, key=str)
        return self.chance.choice(domains) if domains else None

    def _virsh(self) -> None:
        uuid = self._domain()
        if uuid is None:
            return
        fake = self.world.hypervisor
        volumes = sorted(fake._host.pools[self.world.pool.name].volumes)
        what: list[tuple[str, Callable[[], object]]] = [
            ("off", partial(fake.happen, uuid, DomainState.STOPPED, "destroyed")),
            ("on", partial(fake.happen, uuid, DomainState.RUNNING)),
            ("paused", partial(fake.happen, uuid, DomainState.PAUSED, "user")),
            ("undefined", partial(self._undefine, uuid)),
            ("a file removed", partial(fake.lose_volume, self.world.pool.name, self.chance.choice(volumes or [""]))),
        ]
        name, do = self.chance.choice(what)
        self.scheduler.say(f"virsh: {str(uuid)[:8]} {name}")
        do()

    def _undefine(self, uuid: UUID) -> None:
        self.world.hypervisor.happen(uuid, DomainState.STOPPED, "destroyed")
        self.world.hypervisor.vanish(uuid)

    def _guest(self) -> None:
        uuid = self._domain()
        if uuid is None:
            return
        fake = self.world.hypervisor
        what: list[tuple[str, Callable[[], object]]] = [
            ("deaf", partial(fake.set_deaf, uuid, self.chance.random() < 0.6)),
            ("mute", partial(fake.set_mute, uuid, self.chance.random() < 0.6)),
            ("shuts down", partial(fake.happen, uuid, DomainState.STOPPED, "shutdown")),
            ("panics", partial(fake.happen, uuid, DomainState.CRASHED, "panicked")),
            ("has no space", partial(fake.happen, uuid, DomainState.PAUSED, "io_error")),
        ]
        name, do = self.chance.choice(what)
        self.scheduler.say(f"guest {str(uuid)[:8]} {name}")
        do()

    # --- the dust settles ---------------------------------------------------------------------------------------
    def settle(self) -> None:
        """End all misfortune, start what is dead, and wait until nothing is live and two comparisons have passed."""
        self.scheduler.say("--- calm")
        self.calm = True
        self.hypervisor.moods = 0.0
        self.world.hypervisor.set_away(False)
        for process in self.scheduler.processes:
            if not process.alive:
                self.scheduler.start(process)
        self.scheduler.run_until(lambda: not Operation.objects.filter(status__in=LIVE).exists(), 1500.0)
        self.scheduler.run_until(lambda: False, 3 * RESYNC_SECONDS + 5)

    def breaches(self) -> list[str]:
        """Return everything that is not as it was promised."""
        found = [*self.scheduler.surprises, *self.moments.broken]
        found += [f"{breach.code}: {breach.what}" for breach in evaluate(self.world.hypervisor)]
        for operation in Operation.objects.filter(status__in=LIVE):
            found.append(f"{operation.kind} of {operation.vm_name} never ended: {operation.status} at {operation.step}")
        journal = dict(Operation.objects.values_list("pk", "status"))
        found += [f"operation {pk} was acknowledged and is lost" for pk in self.acknowledged - set(journal)]
        for operation in Operation.objects.filter(status=OperationStatus.FAILED, error_detail=""):
            found.append(f"{operation.kind} failed with {operation.error_code} and no sentence")
        for operation in Operation.objects.exclude(staff_detail__in=["", None]):
            if "HypervisorError: " in operation.staff_detail and "mood" not in operation.staff_detail:
                found.append(f"{operation.kind} broke: {operation.staff_detail}")
        for vm in VirtualMachine.objects.select_related("node"):
            found += self._breaches_of(vm)
        return found

    @staticmethod
    def _breaches_of(vm: VirtualMachine) -> list[str]:
        found = []
        if vm.desired_state == DesiredState.DELETED:
            if vm.failure != "delete_failed":
                found.append(f"{vm.name} is to be deleted, nobody does it, and it does not say so")
        elif vm.desired_state != following._FOLLOWS[vm.observed_state]:
            found.append(f"{vm.name} is wished {vm.desired_state} and seen {vm.observed_state}")
        return found


__all__ = ["Model", "quotas"]
