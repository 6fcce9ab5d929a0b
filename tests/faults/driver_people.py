"""The driver's commands that people stand behind: they ask for machines, verbs and consoles."""

import time
from typing import Any

from django.conf import settings
from django.db.models.functions import Now
from django.test import Client

from accounts.actor import Actor
from accounts.models import Membership, Project, Role, User
from accounts.services import create_user, issue_token
from tests.faults.driver_base import Base
from tests.portal.world import ApiClient
from vms import console_access, dispatch, services
from vms.models import Operation, VirtualMachine
from vms.states import DesiredState


class People(Base):
    """What is asked of services and API."""

    def create(self, name: str, more: dict[str, Any] | None = None) -> str:
        wanted = {"image": "micro", "flavor": "nano", "project": "harbor"} | (more or {})
        new = services.NewVm(name=name, **{key: _hashable(value) for key, value in wanted.items()})
        return str(services.request_create(self.actor(), new)[1].pk)

    def ask(self, verb: str, name: str, *more: str) -> str:
        vm = VirtualMachine.objects.exclude(desired_state=DesiredState.DELETED).get(name=name)
        answer = getattr(services, f"request_{verb}")(self.actor(), vm.pk, *more)
        return str((answer[1] if isinstance(answer, tuple) else answer).pk)

    def ask_at(self, verb: str, name: str, moment: float) -> str:
        """Ask at this moment, so that two processes ask at the same."""
        more = ["medium"] if verb == "resize" else []
        vm = VirtualMachine.objects.get(name=name)
        while time.time() < moment:
            pass
        answer = getattr(services, f"request_{verb}")(self.actor(), vm.pk, *more)
        return str((answer[1] if isinstance(answer, tuple) else answer).pk)

    def pretend(self, name: str, observed: str) -> None:
        """Let a new machine be in this state, with nothing under way. Nobody carries out anything here."""
        VirtualMachine.objects.filter(name=name).update(observed_state=observed, desired_state=DesiredState.RUNNING)
        Operation.objects.filter(vm_name=name).update(status="succeeded", finished_at=Now())

    def get(self, path: str) -> int:
        """Ask the API for something, with a token; return the status of its answer."""
        if self.client is None:
            self.client = ApiClient(issue_token(self.actor(), "test")[1], SERVER_NAME="localhost")
        return int(self.client.call("GET", path).status_code)

    def ring(self, operation: str, times: int) -> None:
        queue = Operation.objects.get(pk=operation).node.queue
        for _time in range(times):
            dispatch._send(operation, queue)

    def token(self, username: str = "alice") -> str:
        """A token of one of the demo's people, or of a new member of the project."""
        user = User.objects.filter(username=username).first()
        if user is None:
            user = create_user(Actor.system(), username, "correct-horse-battery", email=f"{username}@test.invalid")
            Membership.objects.create(project=Project.objects.get(name="harbor"), user=user, role=Role.MEMBER)
        return issue_token(Actor(user=user, via="test"), "test")[1]

    def session(self) -> str:
        """The cookie of somebody who has just signed in."""
        browser = Client()
        browser.force_login(self.actor().who)
        return "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())

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


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
