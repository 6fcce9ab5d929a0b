"""Blocking calls, kept off the event loop: database, hypervisor and guest agents each have their own few threads.

A hypervisor that hangs takes its own threads and not those that check permissions; a guest that never answers, one of
those that only guests' agents are asked in, however many runs it has. What is written to disk has threads, too.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from channels.db import database_sync_to_async

P = ParamSpec("P")
R = TypeVar("R")

DATABASE_THREADS = 4
HYPERVISOR_THREADS = 8
AGENT_THREADS = 8  # each waits up to 5 s for a guest that is silent
DISK_THREADS = 2
HYPERVISOR_TIMEOUT_SECONDS = 30.0  # past libvirt's own keepalive, which ends a call after 25 s


class Blocking:
    def __init__(self) -> None:
        self._database = ThreadPoolExecutor(DATABASE_THREADS, "database")
        self._hypervisor = ThreadPoolExecutor(HYPERVISOR_THREADS, "hypervisor")
        self._agent = ThreadPoolExecutor(AGENT_THREADS, "agent")
        self._disk = ThreadPoolExecutor(DISK_THREADS, "disk")
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()  # while somebody has it or waits

    async def database(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` with a database connection of its thread, closed afterwards."""
        call: Any = database_sync_to_async(work, thread_sensitive=False, executor=self._database)
        result: R = await call(*args, **kwargs)
        return result

    async def hypervisor(self, work: Callable[..., R], *args: Any, late: Callable[[R], object] | None = None) -> R:
        """Run `work`; TimeoutError when it takes too long. `late` is given what it returns after that."""
        future = asyncio.get_running_loop().run_in_executor(self._hypervisor, work, *args)
        try:
            async with asyncio.timeout(HYPERVISOR_TIMEOUT_SECONDS):
                return await asyncio.shield(future)
        except (TimeoutError, asyncio.CancelledError):
            future.add_done_callback(lambda done: _give(done, late))
            raise

    async def agent(self, domain: UUID, work: Callable[..., R], *args: Any) -> R:
        """Run a call of a guest's agent, which has a time limit of its own: one at a time of each domain."""
        task = asyncio.ensure_future(self._in_turn(domain, work, *args))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)  # who goes away leaves the thread behind, and so its turn

    async def _in_turn(self, domain: UUID, work: Callable[..., R], *args: Any) -> R:
        turn = self._turns.setdefault(domain, asyncio.Lock())
        async with turn:
            return await asyncio.get_running_loop().run_in_executor(self._agent, work, *args)

    async def disk(self, work: Callable[..., R], *args: Any) -> R:
        """Read or write a file."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *args)

    def close(self) -> None:
        """Let go of the threads; those that hang are left behind."""
        self._database.shutdown(wait=False, cancel_futures=True)
        for pool in (self._hypervisor, self._agent, self._disk):
            pool.shutdown(wait=False, cancel_futures=True)


def _give(done: asyncio.Future[R], late: Callable[[R], object] | None) -> None:
    if not done.cancelled() and done.exception() is None and late is not None:
        late(done.result())
