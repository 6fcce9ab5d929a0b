"""The driver's commands for operations whose worker dies at a chosen place: what they need first, and the asking."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import F

from accounts.actor import Actor
from accounts.models import User
from accounts.retrying import retried
from sandboxes import services as sandbox_services
from sandboxes import sweeps
from sandboxes.models import Template, TemplateBuild
from tests.faults import fatal
from tests.faults.driver_base import Base
from tests.portal.lab import SANDBOX_KINDS
from tests.portal.test_faults_fake import BEFORE
from vms import services
from vms.models import Operation, VirtualMachine
from vms.states import LIVE, OperationKind

# templates by what is made of them, so that no claim takes a clone whose own making is watched
PLAIN, FOR_SPARES, FOR_CLAIMS = "plain", "spares", "claims"
IN_BOXES = (OperationKind.RESET, OperationKind.SUSPEND, OperationKind.RESTORE)


class Fatal(Base):
    """Each operation has a machine or template of its own, named by the test."""

    def templates(self, kinds: list[str]) -> None:
        """Begin to prepare what clones of these kinds are made of."""
        names = [PLAIN] * bool({*kinds} & {OperationKind.CLONE, *IN_BOXES})
        names += [FOR_SPARES] * (OperationKind.SPARE in kinds) + [FOR_CLAIMS] * (OperationKind.CLAIM in kinds)
        for name in names:
            self._template(name)
            sandbox_services.request_prepare(self._admin(), name)

    def get_ready(self, turn: int, kind: str, name: str) -> bool:
        """Ask for what an operation of this kind needs first, a turn each; False when nothing is left to ask for."""
        steps = self._first(kind)
        if turn < len(steps):
            steps[turn](name)
        return turn < len(steps)

    def ask_fatal(self, kind: str, name: str, place: list[str], plans: str) -> str:
        """Ask, with the plan in its place before any worker can see the operation."""

        @retried
        @transaction.atomic
        def both() -> str:
            operation = self._asked(kind, name)
            assert operation.kind == kind
            fatal.plan(Path(plans), str(operation.pk), place)
            return str(operation.pk)

        return both()

    def outcome(self) -> dict[str, list[Any]]:
        """{operation: [kind, status, error_code, attempt, takeovers, when it ended, wish, state, boots]}."""
        return {
            str(op.pk): [
                op.kind, op.status, op.error_code, op.attempt, op.takeovers,
                op.finished_at.timestamp() if op.finished_at else None, *self._machine(op),
            ]
            for op in Operation.objects.all()
        }  # fmt: skip

    def builds(self) -> dict[str, str]:
        """{template: status of its only build}."""
        return dict(TemplateBuild.objects.values_list("template__name", "status"))

    # --- before -------------------------------------------------------------------------------------------------
    def _first(self, kind: str) -> list[Callable[[str], Any]]:
        if kind == OperationKind.PREPARE:
            return [self._template]
        if kind in IN_BOXES:  # a turn for the template to be prepared in
            later = [lambda name: sandbox_services.request_pause(self.actor(), self._vm(name).pk)]
            return [_nothing, self._box(PLAIN), *later[: kind == OperationKind.RESTORE]]
        if kind in SANDBOX_KINDS:
            return [_nothing, lambda _name: self._spare(FOR_CLAIMS)][: 1 + (kind == OperationKind.CLAIM)]
        if kind == OperationKind.CREATE:
            return []
        return [self._create, *(self._verb(verb) for verb in BEFORE.get(OperationKind(kind), ()))]

    def _template(self, name: str) -> Template:
        new = sandbox_services.NewTemplate(name=name, image="micro", flavor="nano", ready_script="#!/bin/sh\n")
        return sandbox_services.request_template(self._admin(), new)

    # --- asking -------------------------------------------------------------------------------------------------
    def _asked(self, kind: str, name: str) -> Operation:
        ask: dict[str, Callable[[str], Any]] = {
            OperationKind.CREATE: self._create,
            OperationKind.PREPARE: lambda name: sandbox_services.request_prepare(self._admin(), name)[1],
            OperationKind.SPARE: lambda _name: self._spare(FOR_SPARES),
            OperationKind.CLONE: self._box(PLAIN),
            OperationKind.CLAIM: self._claimed,
            OperationKind.RESET: lambda name: sandbox_services.request_reset(self.actor(), self._vm(name).pk),
            OperationKind.SUSPEND: lambda name: sandbox_services.request_pause(self.actor(), self._vm(name).pk),
            OperationKind.RESTORE: lambda name: sandbox_services.request_resume(self.actor(), self._vm(name).pk),
        }
        answer = ask.get(kind, self._verb(kind))(name)
        for part in (answer, *(answer if isinstance(answer, (tuple, list)) else ())):
            if isinstance(part, Operation):
                return part
        raise AssertionError(f"{kind} gave no operation")

    def _create(self, name: str) -> Any:
        return services.request_create(self.actor(), services.NewVm(name, "micro", "nano", "harbor"))

    def _verb(self, verb: str) -> Callable[[str], Any]:
        more = ("medium",) if verb == OperationKind.RESIZE else ()
        return lambda name: getattr(services, f"request_{verb}")(self.actor(), self._vm(name).pk, *more)

    def _box(self, template: str) -> Callable[[str], Any]:
        return lambda name: sandbox_services.request_sandbox(
            self.actor(), sandbox_services.NewSandbox(name=name, template=template, project="harbor")
        )

    @transaction.atomic
    def _spare(self, template: str) -> Operation:
        """One clone more is to wait, and is made at once: the sweep makes two at a time."""
        Template.objects.filter(name=template).update(pool_size=F("pool_size") + 1)
        build = TemplateBuild.objects.select_related("template", "node").get(template__name=template)
        known = set(Operation.objects.filter(kind=OperationKind.SPARE).values_list("pk", flat=True))
        sweeps._make_spare(build)
        return Operation.objects.filter(kind=OperationKind.SPARE, status__in=LIVE).exclude(pk__in=known).get()

    def _claimed(self, name: str) -> Any:
        answer = self._box(FOR_CLAIMS)(name)
        Template.objects.filter(name=FOR_CLAIMS).update(pool_size=F("pool_size") - 1)  # or another would be made
        return answer

    # --- after --------------------------------------------------------------------------------------------------
    def _machine(self, operation: Operation) -> list[Any]:
        vm = VirtualMachine.objects.filter(pk=operation.machine_id).first()
        domain = self.hypervisor.domain(vm.domain_uuid) if vm else None
        if vm is None or domain is None:
            return ["", "", 0]
        assert vm.observed_state == str(domain.state), vm.name
        return [vm.desired_state, str(domain.state), self._host().domains[vm.domain_uuid].boots]

    @staticmethod
    def _vm(name: str) -> VirtualMachine:
        return VirtualMachine.objects.get(name=name)

    @staticmethod
    def _admin() -> Actor:
        return Actor(user=User.objects.get(username="admin"), via="test")


def _nothing(_name: str) -> None:
    """Wait a turn."""
