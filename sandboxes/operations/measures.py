"""What was measured of a build while it was made and used: what its page, and whoever sizes its pool, go by."""

from datetime import datetime, timedelta

from django.utils import timezone

from accounts import clock
from vms.models import VirtualMachine

from ..models import TemplateBuild

MIB = 2**20
MILLISECOND = timedelta(milliseconds=1)


def keep_boot(vm: VirtualMachine) -> None:
    """Note how long a builder took from power on to its guest's answer; where the step is repeated, the first time."""
    vm.refresh_from_db(fields=["started_at"])
    if vm.started_at is not None:  # by the clock of this host
        took = max(timezone.now() - vm.started_at, timedelta()) // MILLISECOND
        TemplateBuild.objects.filter(pk=vm.pk, boot_ms=None).update(boot_ms=took)


def keep_ready(build: TemplateBuild, asked_at: datetime) -> None:
    """Note how long it took from the request to a sandbox that has its own identity."""
    took = max(clock.now() - asked_at, timedelta()) // MILLISECOND
    TemplateBuild.objects.filter(pk=build.pk).update(ready_ms=took)


def keep_idle(build: TemplateBuild, own_bytes: int | None) -> None:
    """Note what a clone that waits takes of the host's memory for itself; None where that cannot be told."""
    if own_bytes is not None:
        TemplateBuild.objects.filter(pk=build.pk).update(idle_mib=round(own_bytes / MIB))
