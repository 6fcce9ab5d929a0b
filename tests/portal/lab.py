"""A world with sandboxes in it: networks for them, a template, and ways to get to a build, a spare, a sandbox."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from uuid import UUID, uuid4

import pytest
from django.conf import settings

from hypervisor.specs import NetworkKind as SpecKind
from hypervisor.specs import NetworkSpec
from sandboxes import gateway_runs, services, sweeps
from sandboxes.models import Run, Sandbox, Template, TemplateBuild
from tests.portal.world import World
from vms.models import Network, Operation, VirtualMachine
from vms.states import NetworkKind, OperationKind, Role

SANDBOX_KINDS = frozenset(
    {
        OperationKind.PREPARE,
        OperationKind.SPARE,
        OperationKind.CLONE,
        OperationKind.CLAIM,
        OperationKind.RESET,
        OperationKind.SUSPEND,
        OperationKind.RESTORE,
    }
)  # those that are asked for by what sandboxes have, and not by vms.services
SUBNETS = {NetworkKind.NAT: "10.72.0.0/20", NetworkKind.ISOLATED: "10.73.0.0/20"}


@dataclass
class Lab:
    """The world, and a template of everybody's called "micro"."""

    world: World
    template: Template

    def prepared(self, template: Template | None = None) -> TemplateBuild:
        """Prepare a template on the node."""
        template = template or self.template
        services.request_prepare(self.world.actor("admin"), template.pk)
        self.world.drain()
        return TemplateBuild.objects.get(template=template, status="ready")

    def spares(self, number: int = 1) -> list[Sandbox]:
        """Let so many clones wait."""
        Template.objects.filter(pk=self.template.pk).update(pool_size=number)
        while sweeps.tend_pools()[0]:
            self.world.drain()
        return list(Sandbox.objects.filter(vm__role=Role.SPARE, build__isnull=False).order_by("named_at"))

    def sandbox(self, name: str = "box-1", by: str = "alice", *, drain: bool = True, **asked: object) -> Sandbox:
        """Make a sandbox in harbor through the service."""
        wanted = {"template": "micro", "project": "harbor", **asked}
        sandbox, _operation = services.request_sandbox(self.world.actor(by), services.NewSandbox(name=name, **wanted))
        if drain:
            self.world.drain()
        return self.again(sandbox)

    @staticmethod
    def again(sandbox: Sandbox) -> Sandbox:
        """Read a sandbox again."""
        return Sandbox.objects.select_related("vm", "template", "build").get(pk=sandbox.pk)

    def operation(self, sandbox: Sandbox) -> Operation:
        return Operation.objects.filter(vm=sandbox.vm_id).order_by("-created_at").first()

    def run(self, sandbox: Sandbox, command: str = "true", by: str = "alice", **more: object) -> Run:
        return services.request_run(self.world.actor(by), sandbox.vm_id, services.NewRun(command=command, **more))


def make_lab(world: World) -> Lab:
    """Add to the world what sandboxes need."""
    world.node.fingerprint = world.hypervisor.fingerprint()
    world.node.save(update_fields=["fingerprint"])
    for number, (kind, subnet) in enumerate(SUBNETS.items()):
        name = f"slipway-{settings.INSTALLATION_ID}-{kind}"
        Network.objects.create(
            node=world.node, name=name, kind=kind, bridge=f"sw-test{number}", subnet=subnet, filter_name="",
        )  # fmt: skip
        world.hypervisor.ensure_network(
            NetworkSpec(
                name=name, uuid=uuid4(), bridge=f"sw-test{number}", gateway=subnet.replace("0.0/20", "0.1"),
                prefix_length=20, dhcp_first=subnet.replace("0.0/20", "0.2"),
                dhcp_last=subnet.replace("0.0/20", "15.254"), filter_name="", filter_uuid=uuid4(),
                hosts_dir=PurePosixPath(settings.DATA_DIR) / "dhcp", kind=SpecKind(kind),
            )
        )  # fmt: skip
    template = services.request_template(
        world.actor("admin"), services.NewTemplate(name="micro", image="micro", flavor="nano")
    )
    return Lab(world, template)


def stub_gateway(patch: pytest.MonkeyPatch) -> list[UUID]:
    """Put a gateway in place that says "hello" to everything; return the list of the runs that it was told to begin."""
    begun: list[UUID] = []

    async def events(run: Run, stdout: int = 0, stderr: int = 0, language: str = "") -> AsyncIterator[bytes]:
        yield b"event: end\ndata: {}\n\n"

    async def pieces() -> AsyncIterator[bytes]:
        yield b"hello"

    @asynccontextmanager
    async def open_file(vm: VirtualMachine, path: str) -> AsyncIterator[gateway_runs.Fetched]:
        yield gateway_runs.Fetched("file", pieces())

    patch.setattr(gateway_runs, "start", lambda run: begun.append(run.pk))
    patch.setattr(gateway_runs, "kill", lambda run: None)
    patch.setattr(gateway_runs, "output", lambda *_args: gateway_runs.Piece(b"hello", 5, ended=True))
    patch.setattr(gateway_runs, "put_file", lambda vm, path, body, **_more: sum(map(len, body)))
    patch.setattr(gateway_runs, "list_folder", lambda *_args: ([gateway_runs.Entry("a", "file", 5)], False))
    patch.setattr(gateway_runs, "events", events)
    patch.setattr(gateway_runs, "open_file", open_file)
    return begun
