"""Stands for the web process of a fault test: a line of JSON in, a line of JSON out. Started by `installation.py`.

Each command is a method of `Driver`; what it raises comes back as {"error": ...}.
"""

import json
import os
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402 - apps must be loaded first
from django.core.management import call_command  # noqa: E402
from django.db import close_old_connections, transaction  # noqa: E402
from django.db.models.functions import Now  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.actor import Actor  # noqa: E402
from accounts.models import Membership, Project, QuotaLimit, Role, User  # noqa: E402
from accounts.services import create_user, issue_token  # noqa: E402
from hypervisor.errors import HypervisorError  # noqa: E402
from hypervisor.factory import open_hypervisor  # noqa: E402
from hypervisor.fake import FakeHypervisor  # noqa: E402
from portal.invariants import evaluate  # noqa: E402
from tests.portal.world import ApiClient, make_world  # noqa: E402
from vms import console_access, dispatch, following, placement, quotas, services  # noqa: E402
from vms.models import (  # noqa: E402
    ConsoleSession,
    Flavor,
    Image,
    Node,
    Operation,
    StoragePool,
    VirtualMachine,
    Volume,
)
from vms.operations import blueprint  # noqa: E402
from vms.states import LIVE, DesiredState, display_status  # noqa: E402


class Driver:
    """Commands by name; arguments and answers are JSON."""

    def __init__(self) -> None:
        self.hypervisor = open_hypervisor(settings.LIBVIRT_URI)
        self.client: ApiClient | None = None
        self.opened = 0
        settings.PERSONAL_QUOTA.clear()

    def prepare(self) -> None:
        call_command("migrate", verbosity=0)
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
        make_world()
        QuotaLimit.objects.all().delete()
        Node.objects.update(synced_at=None)

    def actor(self) -> Actor:
        return Actor(user=User.objects.get(username="alice"), via="test")

    def synced(self) -> bool:
        node = Node.objects.filter(name=settings.NODE_NAME).first()
        return bool(node and node.synced_at)

    def slow(self, seconds: float) -> None:
        self.fake().set_slow(seconds)

    def create(self, name: str, more: dict[str, Any] | None = None) -> str:
        wanted = {"image": "micro", "flavor": "nano", "project": "harbor"} | (more or {})
        new = services.NewVm(name=name, **{key: _hashable(value) for key, value in wanted.items()})
        return str(services.request_create(self.actor(), new)[1].pk)

    def token(self, username: str = "alice") -> str:
        """A token of one of the demo's people, or of a new member of the project."""
        user = User.objects.filter(username=username).first()
        if user is None:
            user = create_user(Actor.system(), username, "correct-horse-battery", email=f"{username}@test.invalid")
            Membership.objects.create(project=Project.objects.get(name="harbor"), user=user, role=Role.MEMBER)
        return issue_token(Actor(user=user, via="test"), "test")[1]

    def vm(self, name: str) -> list[str]:
        """[id, domain uuid, version]."""
        found = VirtualMachine.objects.get(name=name)
        return [str(found.pk), str(found.domain_uuid), found.version]

    def guest(self, name: str, words: str) -> int:
        """Let the guest's shell do something; return the number of its process."""
        arguments = {"path": "/bin/sh", "arg": ["-c", words]}
        uuid = VirtualMachine.objects.get(name=name).domain_uuid
        answer: dict[str, int] = self.hypervisor.agent(uuid, "guest-exec", arguments, 5)
        return answer["pid"]

    def guest_answers(self, name: str) -> bool:
        uuid = VirtualMachine.objects.get(name=name).domain_uuid
        try:
            self.hypervisor.agent(uuid, "guest-ping", timeout_seconds=2)
        except HypervisorError:
            return False
        return True

    def clock(self) -> float:
        return time.time()

    def ticket(self, name: str) -> list[str]:
        """[secret, what is stored of it]."""
        token = issue_token(self.actor(), "console")[0]
        actor = Actor(user=self.actor().who, via="token", token_id=token.pk)
        secret = services.request_console(actor, VirtualMachine.objects.get(name=name).pk, "serial").ticket
        return [secret, console_access.hash_of(secret)]

    def redeem(self, name: str, secret: str) -> None:
        vm = VirtualMachine.objects.get(name=name)
        console_access.redeem(secret, vm_id=vm.pk, kind="serial", node=settings.NODE_NAME)

    def console(self, name: str) -> None:
        """Take a ticket, open a console with it as a gateway does, and close it."""
        vm = VirtualMachine.objects.exclude(desired_state=DesiredState.DELETED).get(name=name)
        actor = Actor(user=self.actor().who, via="token", token_id=issue_token(self.actor(), "console")[0].pk)
        secret = services.request_console(actor, vm.pk, "serial").ticket
        node = settings.NODE_NAME
        console_access.close(console_access.redeem(secret, vm_id=vm.pk, kind="serial", node=node))
        self.opened += 1

    def consoles_opened(self) -> int:
        return self.opened

    def consoles(self) -> int:
        return ConsoleSession.objects.count()

    def usage(self) -> dict[str, int]:
        return quotas.usage(Project.objects.get(name="harbor"))

    def places(self) -> dict[str, list[Any]]:
        """{name: [node, status as people see it, reason]}."""
        now = timezone.now()
        rows = VirtualMachine.objects.select_related("node")
        return {vm.name: [vm.node.name, *display_status(vm.facts(""), now, settings.NODE_AWAY_AFTER)] for vm in rows}

    def nodes_synced(self) -> int:
        return Node.objects.exclude(synced_at=None).count()

    def stock(self, number_of: int) -> None:
        """Make machines that run, rows and domains, without going through operations."""
        owner, node = Project.objects.get(name="harbor"), Node.objects.get(name=settings.NODE_NAME)
        pool, network = node.pools.get(), node.networks.filter(name=f"slipway-{settings.INSTALLATION_ID}").get()
        flavor, image = Flavor.objects.get(name="nano"), Image.objects.get(name="micro")
        size = {"vcpus": 1, "memory_mib": 16, "disk_gib": flavor.disk_gib}
        for number in range(number_of):
            with transaction.atomic():
                vm = VirtualMachine.objects.create(
                    project=owner, created_by=self.actor().who, name=f"s-{number}", node=node, image=image,
                    flavor=flavor, desired_state="running", **size,
                )  # fmt: skip
                volume = Volume.objects.create(vm=vm, pool=pool, base_image=image, size_gib=flavor.disk_gib)
                placement.give_card(vm, network)
            self.hypervisor.ensure_volume(blueprint.volume_spec(volume))
            self.hypervisor.define(blueprint.domain_spec(vm, [volume]))
            self.hypervisor.start(vm.domain_uuid)

    def flood(self, seconds: float, per_second: int) -> int:
        """Pause and resume domains behind the portal's back; return how many events that made."""
        uuids = list(VirtualMachine.objects.values_list("domain_uuid", flat=True))
        domains = [self.hypervisor._lookup(uuid) for uuid in uuids]  # type: ignore[attr-defined]
        began, made = time.monotonic(), 0
        for round_ in count():
            for domain in domains:
                (domain.resume if round_ % 2 else domain.suspend)()
                made += 1
                time.sleep(max(0.0, made / per_second - (time.monotonic() - began)))  # the pace is what is tested
                if time.monotonic() - began > seconds:
                    return made
        return made

    def wrong(self) -> int:
        """How many machines are said to be in another state than their domains."""
        there = {facts.uuid: str(facts.state) for facts in self.hypervisor.domains(settings.INSTALLATION_ID)}
        rows = VirtualMachine.objects.values_list("domain_uuid", "observed_state")
        return sum(there.get(uuid) != state for uuid, state in rows)

    def room(self) -> int:
        """What the portal believes to be free in the pool, in bytes."""
        return StoragePool.objects.get(node__name=settings.NODE_NAME).free_bytes

    def files(self) -> list[str]:
        return sorted(volume.name for volume in self.hypervisor.volumes(f"slipway-{settings.INSTALLATION_ID}"))

    def ask(self, verb: str, name: str) -> str:
        vm = VirtualMachine.objects.exclude(desired_state=DesiredState.DELETED).get(name=name)
        answer = getattr(services, f"request_{verb}")(self.actor(), vm.pk)
        return str((answer[1] if isinstance(answer, tuple) else answer).pk)

    def pretend(self, name: str, observed: str) -> None:
        """Let a new machine be in this state, with nothing under way. Nobody carries out anything here."""
        VirtualMachine.objects.filter(name=name).update(observed_state=observed, desired_state=DesiredState.RUNNING)
        Operation.objects.filter(vm_name=name).update(status="succeeded", finished_at=Now())

    def ask_at(self, verb: str, name: str, moment: float) -> str:
        """Ask at this moment, so that two processes ask at the same."""
        more = ["medium"] if verb == "resize" else []
        vm = VirtualMachine.objects.get(name=name)
        while time.time() < moment:
            pass
        answer = getattr(services, f"request_{verb}")(self.actor(), vm.pk, *more)
        return str((answer[1] if isinstance(answer, tuple) else answer).pk)

    def live_of(self, name: str) -> list[list[str]]:
        """[[kind, status, error_code], ...] of all but the create."""
        rows = Operation.objects.filter(vm_name=name).exclude(kind="create")
        return [list(row) for row in rows.values_list("kind", "status", "error_code")]

    def ring(self, operation: str, times: int) -> None:
        queue = Operation.objects.get(pk=operation).node.queue
        for _time in range(times):
            dispatch._send(operation, queue)

    def post(self, path: str, body: Any, key: str) -> list[Any]:
        """Call the API with an Idempotency-Key; returns [status, body]."""
        if self.client is None:
            self.client = ApiClient(issue_token(self.actor(), "test")[1], SERVER_NAME="localhost")
            self.client.raise_request_exception = False
        answer = self.client.call("POST", path, body, headers={"Idempotency-Key": key})
        return [answer.status_code, answer.json() if answer.status_code < 500 else None]

    def operations(self) -> list[list[Any]]:
        """[[id, kind, status, error_code, attempt, takeovers, seconds], ...], the oldest first."""
        rows = Operation.objects.order_by("created_at")
        return [
            [
                str(op.pk), op.kind, op.status, op.error_code, op.attempt, op.takeovers,
                ((op.finished_at or timezone.now()) - op.created_at).total_seconds(),
            ]
            for op in rows
        ]  # fmt: skip

    def live(self) -> int:
        return Operation.objects.filter(status__in=LIVE).count()

    def held(self) -> int:
        return Operation.objects.exclude(lease_owner="").count()

    def boots(self) -> dict[str, int]:
        return {domain.spec.name: domain.boots for domain in self._host().domains.values()}

    def fake(self) -> FakeHypervisor:
        assert isinstance(self.hypervisor, FakeHypervisor)
        return self.hypervisor

    def _host(self) -> Any:
        assert self.fake().calls is not None  # reads the file
        return self.fake()._host

    def machines(self) -> dict[str, list[str]]:
        """{name: [domain uuid, desired, observed, reason]}."""
        rows = VirtualMachine.objects.order_by("created_at")
        return {vm.name: [str(vm.domain_uuid), vm.desired_state, vm.observed_state, vm.observed_reason] for vm in rows}

    def node(self) -> list[Any]:
        """[is libvirt there, seconds since the last comparison]."""
        node = Node.objects.get(name=settings.NODE_NAME)
        return [node.hypervisor_ok, (timezone.now() - node.synced_at).total_seconds() if node.synced_at else None]

    def breaches(self) -> list[str]:
        found = [f"{breach.code} {breach.what}" for breach in evaluate(self.hypervisor)]
        rows = VirtualMachine.objects.exclude(desired_state=DesiredState.DELETED)
        return found + [
            f"{vm.name} is wished {vm.desired_state} and seen {vm.observed_state}"
            for vm in rows
            if vm.desired_state != following._FOLLOWS[vm.observed_state]
        ]


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def main() -> None:
    driver = Driver()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - logs must not be mistaken for answers
    os.dup2(2, 1)
    for line in sys.stdin:
        command, arguments = json.loads(line)
        close_old_connections()
        try:
            answer = {"answer": getattr(driver, command)(*arguments)}
        except Exception as error:  # noqa: BLE001 - the test decides what it means
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
