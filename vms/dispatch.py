"""The doorbell: tells a node's worker that an operation waits. The message bears the id and nothing else."""

import asyncio
from functools import partial
from uuid import UUID

from celery import current_app
from django.db import transaction

from .bells import tower
from .models import Operation

RUN_OPERATION = "vms.run_operation"


def ring(operation: Operation) -> None:
    """Ring the queue of the operation's node once the surrounding transaction has committed."""
    transaction.on_commit(partial(ring_now, operation.id, operation.node.queue))


def ring_now(operation_id: UUID, queue: str) -> None:
    """Ring without waiting for a commit: for rows that are in the database already."""

    async def bell() -> None:
        await asyncio.to_thread(_send, str(operation_id), queue)

    tower.ring(bell)


def _send(operation_id: str, queue: str) -> None:
    current_app.send_task(RUN_OPERATION, args=[operation_id], queue=queue, retry=False, ignore_result=True)
