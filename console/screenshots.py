"""The display of a domain as a PNG, for web, which may not talk to libvirt itself."""

import asyncio
from uuid import UUID

import structlog

from hypervisor.api import Hypervisor
from hypervisor.errors import HypervisorError, NotFound, WrongState

from .blocking import Blocking

log = structlog.get_logger(__name__)
AT_ONCE = 2  # each takes a core of the node for some milliseconds


class Screenshots:
    """Takes them; who asks while one is being taken gets the same."""

    def __init__(self, hypervisor: Hypervisor, blocking: Blocking) -> None:
        self._hypervisor = hypervisor
        self._blocking = blocking
        self._room = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[UUID, asyncio.Task[bytes]] = {}

    async def take(self, uuid: UUID) -> tuple[int, bytes]:
        """Return an HTTP status and the PNG: 404 no such domain, 409 it is off, 503 hypervisor away."""
        task = self._under_way.get(uuid)
        if task is None:
            task = asyncio.ensure_future(self._take(uuid))
            self._under_way[uuid] = task
            task.add_done_callback(lambda _done: self._under_way.pop(uuid, None))
        try:
            return 200, await asyncio.shield(task)
        except NotFound:
            return 404, b""
        except WrongState:
            return 409, b""
        except (HypervisorError, TimeoutError) as error:
            log.warning("screenshot.failed", domain=str(uuid), error=repr(error))
            return 503, b""

    async def _take(self, uuid: UUID) -> bytes:
        async with self._room:
            return await self._blocking.hypervisor(self._hypervisor.screenshot, uuid)
