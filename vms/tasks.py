"""Celery's side: a message with an id arrives, and the journal says what to do about it."""

from datetime import timedelta
from functools import lru_cache
from uuid import UUID

import structlog
from celery import shared_task
from django.conf import settings

from hypervisor.api import Hypervisor
from hypervisor.factory import open_hypervisor

from . import sweeps

log = structlog.get_logger(__name__)


@lru_cache(maxsize=1)
def local_hypervisor() -> Hypervisor:
    """Return this process's hypervisor; opened at first use, so after a worker has forked."""
    return open_hypervisor(settings.LIBVIRT_URI)


@shared_task(name="vms.run_operation", ignore_result=True)
def run_operation(operation_id: str) -> None:
    """Carry out one operation. A forged or stale id has no effect: the claim finds nothing."""
    from .operations import runner

    try:
        wanted = UUID(operation_id)
    except (ValueError, TypeError, AttributeError):
        log.warning("forged_operation_id")
        return
    runner.run(wanted, local_hypervisor())


@shared_task(name="vms.ring_due_operations", ignore_result=True)
def ring_due_operations() -> None:
    """Ring again for operations that nobody claimed and for those whose worker died."""
    sweeps.ring_due(older_than=timedelta(seconds=3))


@shared_task(name="vms.sweep", ignore_result=True)
def sweep() -> None:
    """What has to happen now and then, on any node's account."""
    sweeps.end_overdue()
    sweeps.rank_by_nodes()
    sweeps.forget_old()
