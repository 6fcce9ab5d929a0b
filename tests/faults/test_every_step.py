"""F1 on real QEMU: the worker of every operation dies at every one of its steps, one after the other, and at its end.

Nothing is listed here: a new step or operation is killed as soon as it stands in `vms.steps`.
"""

import pytest

from tests.journeys import Journey, real_world
from tests.portal.test_faults_fake import places
from vms.steps import STEPS


@pytest.mark.timeout(1500)
@pytest.mark.django_db
def test_workers_die_everywhere_on_real_qemu_f1(settings, monkeypatch):
    with real_world(settings, monkeypatch) as world:
        journey = Journey(world, lambda kind: list(places({kind})))
        journey.machine()
        journey.sandboxes()
        journey.nothing_is_left()
    assert journey.seen == set(STEPS)
