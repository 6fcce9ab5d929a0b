"""What must hold at every moment of a simulated run, not only when the dust has settled.

A worker acts on a host only after it has asked whether the operation is still its own, once for each thing that it
does, right before; and when it was told yes, it was so. What happens behind an answer that was true (a worker stands
still between the answer and its call) cannot be helped, because libvirt takes no fence; steps and reaper heal it.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection

from hypervisor import fake_calls
from tests.simulation.machinery import Fiber, Scheduler
from vms.operations.context import Context
from vms.operations.leases import Lease

READS = fake_calls.READS - {"admitted", "fingerprint", "frozen", "open_graphics"}  # which no worker needs unasked
PER_ANSWER = {"remove_volume": 2}  # the disk and its seed


@dataclass
class Moments:
    """Watches workers from outside: what `broken` lists is no matter of how it all ended."""

    scheduler: Scheduler
    broken: list[str] = field(default_factory=list)
    acts: int = 0
    _answers: dict[Fiber, tuple[bool, int]] = field(default_factory=dict)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Listen to the answers that workers get."""
        really = Context.guard

        def guard(context: Context) -> None:
            really(context)
            fiber = self.scheduler.fiber
            if fiber is not None:  # nobody else has run since the question was put
                self._answers[fiber] = (is_held(context.lease), 0)

        patch.setattr(Context, "guard", guard)

    def act(self, verb: str) -> None:
        """Called when somebody calls the hypervisor."""
        fiber = self.scheduler.fiber
        if fiber is None or not fiber.process.name.startswith("worker"):
            return
        was_true, calls = self._answers.get(fiber, (False, 0))
        self._answers[fiber] = (was_true, calls + 1)  # a look at the host makes an answer old, too
        if verb in READS:
            return
        self.acts += 1
        if not was_true:
            self._say(f"{fiber.process.label} calls {verb} for an operation that was not its own when it asked")
        elif calls >= PER_ANSWER.get(verb, 1):
            self._say(f"{fiber.process.label} calls {verb} without asking again")

    def each_second(self, acknowledged: set[Any]) -> None:
        """What the journal must say all the time."""
        rows = connection.connection.execute("select id, vm_id, status, kind from vms_operation").fetchall()
        known = {row[0] for row in rows}
        for pk in acknowledged:
            if pk.hex not in known:
                self._say(f"operation {pk} was acknowledged and is not in the journal")
        live = [row[1] for row in rows if row[2] in ("pending", "running")]
        for vm in {vm for vm in live if live.count(vm) > 1}:
            self._say(f"machine {vm} has {live.count(vm)} live operations")
        machines = {row[0] for row in connection.connection.execute("select id from vms_virtualmachine")}
        for pk, vm, status, kind in rows:
            if kind == "delete" and status == "succeeded" and vm in machines:
                self._say(f"delete {pk} has succeeded and machine {vm} has a row")

    def _say(self, what: str) -> None:
        if what not in self.broken:
            self.broken.append(what)
            self.scheduler.say(f"BROKEN {what}")


def is_held(lease: Lease) -> bool:
    """Does the journal say so? Asked behind Django's back, so that nobody else can run in between."""
    words = "select 1 from vms_operation where id = ? and status = 'running' and lease_owner = ? and fence = ?"
    found = connection.connection.execute(words, (lease.operation_id.hex, lease.owner, lease.fence))
    return found.fetchone() is not None
