"""F1 on real QEMU, in the usual run: every operation loses its worker where that costs most.

All of the places are in tests/faults/test_every_step.py.
"""

import pytest

from tests.journeys import Journey, real_world
from tests.portal.test_faults_fake import Place
from vms.states import OperationKind
from vms.steps import STEPS

COSTLIEST = {
    OperationKind.CREATE: ("disk", "running"),
    OperationKind.START: ("running",),
    OperationKind.STOP: ("ask_stop",),
    OperationKind.FORCE_OFF: ("forced_off",),
    OperationKind.REBOOT: ("ask_reboot",),
    OperationKind.PAUSE: ("paused",),
    OperationKind.RESUME: ("resumed",),
    OperationKind.RESIZE: ("grown",),
    OperationKind.DELETE: ("undefined", "no_disks"),
    OperationKind.PREPARE: ("running", "frozen"),
    OperationKind.SPARE: ("cloned", "rested"),
    OperationKind.CLONE: ("cloned", "named"),
    OperationKind.CLAIM: ("named",),
    OperationKind.RESET: ("cloned", "named"),
    OperationKind.SUSPEND: ("saved",),
    OperationKind.RESTORE: ("running",),
}


@pytest.mark.timeout(600)
def test_workers_die_at_the_costliest_steps_on_real_qemu_f1(db, settings, monkeypatch):
    with real_world(settings, monkeypatch) as world:
        journey = Journey(world, lambda kind: [Place(kind, step, "after its effect") for step in COSTLIEST[kind]])
        journey.machine()
        journey.sandboxes()
        journey.nothing_is_left()
    assert journey.seen == set(STEPS)
