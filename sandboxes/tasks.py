"""Celery's side: the sweeps of leases, pools, builds and runs."""

from celery import shared_task

from . import sweeps


@shared_task(name="sandboxes.sweep", ignore_result=True)
def sweep() -> None:
    """Look after leases, pools, builds and runs."""
    sweeps.sweep()
