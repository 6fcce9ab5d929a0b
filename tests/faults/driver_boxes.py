"""The driver's commands for people with sandboxes, as a soak asks them."""

from typing import Any

from accounts.actor import Actor
from accounts.models import User
from sandboxes import services
from tests.faults.driver_base import Base
from vms.models import Operation, VirtualMachine
from vms.states import Role

LOAD = "load"  # the template of all of them


class Boxes(Base):
    """One template of which a clone waits, and sandboxes of it by name."""

    def prepare_boxes(self) -> str:
        """Make the template; its operation is one as any other."""
        admin = Actor(user=User.objects.get(username="admin"), via="test")
        new = services.NewTemplate(name=LOAD, image="micro", flavor="nano", ready_script="#!/bin/sh\n", pool_size=1)
        template = services.request_template(admin, new)
        return str(services.request_prepare(admin, template.pk)[1][0].pk)

    def box(self, name: str) -> str:
        new = services.NewSandbox(name=name, template=LOAD, project="harbor")
        return str(services.request_sandbox(self.actor(), new)[1].pk)

    def ask_box(self, verb: str, name: str) -> str:
        vm = VirtualMachine.objects.exclude(desired_state="deleted").get(name=name, role=Role.SANDBOX)
        answer: Any = getattr(services, f"request_{verb}")(self.actor(), vm.pk)
        found = answer[1] if isinstance(answer, tuple) else answer
        return str(found.pk) if isinstance(found, Operation) else ""
