"""People with sandboxes, a warm pool, leases that end, and the same misfortunes."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from accounts.refusals import Refusal
from sandboxes import services, sweeps
from sandboxes.models import Sandbox, Template, TemplateBuild
from tests.portal.lab import make_lab, stub_gateway
from tests.portal.world import World
from tests.simulation.machinery import Process, Scheduler
from tests.simulation.model import Model
from vms import sweeps as machine_sweeps
from vms.models import Operation, VirtualMachine
from vms.states import LIVE, DesiredState, OperationKind, OperationStatus, Role

SWEEP_SECONDS = 5.0
POOL = 2
ASKED: tuple[tuple[str, int], ...] = (
    ("reset", 5), ("pause", 2), ("resume", 3), ("extend", 2), ("delete", 2), ("keep", 1), ("restore", 2), ("run", 3),
    ("prepare", 1),
)  # fmt: skip


class SandboxModel(Model):
    """The same installation; everybody wants sandboxes."""

    def __init__(self, world: World, scheduler: Scheduler, patch: pytest.MonkeyPatch) -> None:
        self.lab = make_lab(world)
        Template.objects.update(pool_size=POOL)
        self.begun = stub_gateway(patch)
        super().__init__(world, scheduler, patch)

    def _beat(self, process: Process) -> None:
        while True:
            self.scheduler.sleep(SWEEP_SECONDS)
            machine_sweeps.end_overdue()
            machine_sweeps.rank_by_nodes()
            sweeps.sweep()

    def _ask(self) -> None:
        actor = self.world.actor(self.chance.choice(("alice", "bob")))
        boxes = list(Sandbox.objects.filter(vm__role=Role.SANDBOX).order_by("vm__name").values_list("vm", flat=True))
        try:
            if len(boxes) < 2 or self.chance.random() < 0.25:
                self.names += 1
                new = services.NewSandbox(
                    template="micro", project="harbor", name=f"s-{self.names}",
                    network=self.chance.choice(("nat", "nat", "none")), lease_minutes=self.chance.choice((1, 60)),
                )  # fmt: skip
                operation = services.request_sandbox(actor, new)[1]
            else:
                verbs, weights = zip(*ASKED, strict=True)
                found = self._do(actor, self.chance.choices(verbs, weights)[0], self.chance.choice(boxes))
                if found is None:
                    return
                operation = found
        except Refusal:
            return
        self.acknowledged.add(operation.pk)
        self.scheduler.say(f"{operation.kind} of {operation.vm_name} is {str(operation.pk)[:8]}")

    def _do(self, actor: Any, verb: str, vm_id: UUID) -> Operation | None:
        if verb == "run":
            services.request_run(actor, vm_id, services.NewRun(command="true"))
            return None
        if verb == "prepare":
            return services.request_prepare(self.world.actor("admin"), "micro")[1][0]
        more = (30,) if verb == "extend" else ()
        service: Callable[..., Any] = getattr(services, f"request_{verb}")
        answer = service(actor, vm_id, *more)
        found = answer[1] if isinstance(answer, tuple) else answer
        return found if isinstance(found, Operation) else None

    # --- the dust settles ---------------------------------------------------------------------------------------
    def settle(self) -> None:
        super().settle()
        quiet = lambda: not Operation.objects.filter(status__in=LIVE).exists()  # noqa: E731 - asked again and again
        self.scheduler.run_until(lambda: False, 70.0)  # the last leases of a minute end
        self.scheduler.run_until(quiet, 900.0)
        self.scheduler.run_until(lambda: False, 65.0)  # two comparisons, which reap
        self.scheduler.run_until(quiet, 900.0)

    def breaches(self) -> list[str]:
        """Return everything that is not as it was promised."""
        found = super().breaches()
        for vm in VirtualMachine.objects.exclude(desired_state=DesiredState.DELETED):
            if vm.role == Role.BUILDER or (vm.role == Role.SPARE and not Sandbox.objects.filter(vm=vm).exists()):
                found.append(f"{vm.role} {vm.name} is left behind")
        if VirtualMachine.objects.filter(role=Role.SPARE).exclude(desired_state="deleted").count() > POOL:
            found.append("more clones wait than should")
        waiting = VirtualMachine.objects.filter(role=Role.SPARE, observed_state="paused", desired_state="paused")
        failed = Operation.objects.filter(kind=OperationKind.SPARE, status=OperationStatus.FAILED).exists()
        if waiting.count() < POOL and TemplateBuild.objects.filter(status="ready").exists() and not failed:
            found.append("fewer clones wait than should")
        found += [f"build {build.pk} is never done" for build in TemplateBuild.objects.filter(status="building")]
        claims = Operation.objects.filter(kind=OperationKind.CLAIM).values_list("vm", flat=True)
        if len(claims) != len(set(claims)):
            found.append("a clone was handed out twice")
        identities = [
            domain.identity.seed for domain in self.world.hypervisor._host.domains.values() if domain.identity
        ]
        if len(identities) != len(set(identities)):
            found.append("two clones have the same identity")
        done = Operation.objects.filter(kind=OperationKind.RESET, status=OperationStatus.SUCCEEDED)
        for reset in done:
            if self.world.hypervisor._host.domains.get(UUID(reset.data["old_domain"])):
                row = VirtualMachine.objects.filter(domain_uuid=reset.data["old_domain"]).first()
                if row is None or row.failure != "delete_failed":
                    found.append(f"the domain before the reset of {reset.vm_name} is still there")
        return found
