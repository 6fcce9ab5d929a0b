"""The agent's loop: events give speed, the full comparison gives truth, and the ringing makes up for lost bells."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from typing import Protocol
from uuid import UUID

import structlog
from asgiref.sync import sync_to_async
from django.db import close_old_connections

from hypervisor import errors
from hypervisor.api import Hypervisor
from hypervisor.specs import DomainEvent
from portal.invariants import evaluate
from vms import observer, sweeps
from vms.models import Node, Operation, VirtualMachine, Volume
from vms.states import LIVE, OperationStatus

from . import devices, memory
from .reaper import Reaper
from .register import ensure_pool, register

log = structlog.get_logger(__name__)
GIB = 2**30
RESYNC_SECONDS = 30.0
RING_SECONDS = 2.5  # a bell is lost with the worker that had it in its hand, and the next one is waited for
RING_OLDER_THAN = timedelta(seconds=2)
RETRY_SECONDS = 2.0
PUT_OFF_SECONDS = 1.0
AUDIT_EVERY = 4  # comparisons, so every two minutes
MAY_CHANGE_DEVICES = frozenset({"defined", "device", "started"})


class Events(Protocol):
    """What the agent needs of an event source: domain events, and None whenever it has (re)connected."""

    def listen(self) -> AsyncIterator[DomainEvent | None]: ...


class NodeAgent:
    """One per hypervisor host."""

    def __init__(self, hypervisor: Hypervisor, events: Events) -> None:
        self.hypervisor = hypervisor
        self.events = events
        self.node: Node | None = None
        self._reaper: Reaper | None = None
        self._resync = asyncio.Event()
        self._changed: set[UUID] = set()
        self._rebuilt: set[UUID] = set()
        self._put_off: set[UUID] = set()
        self._due: set[UUID] = set()  # were put off, and are not again
        self._compared = 0
        self._breaches: set[str] = set()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled. libvirt may come and go; the database may too."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._observe_changed())
            tasks.create_task(self._resync_for_ever())
            tasks.create_task(self._ring_for_ever())

    async def _listen(self) -> None:
        async for event in self.events.listen():
            if event is None:
                self._resync.set()
            else:
                self._changed.add(event.uuid)
                if event.what in MAY_CHANGE_DEVICES:
                    self._rebuilt.add(event.uuid)
                self._news.set()

    async def _observe_changed(self) -> None:
        """Read again what events pointed at; many events of one domain cost one reading.

        An operation says itself what becomes of its machine, so what happens meanwhile is read a little later: a clone
        makes four events in half a second, and to read each of them would take the processors that it needs.
        """
        loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            self._news.clear()
            changed, self._changed = self._changed, set()
            for uuid in changed - self._put_off:
                if not await self._safely(partial(self._look_again, uuid)):
                    self._resync.set()
                if uuid in self._put_off:
                    loop.call_later(PUT_OFF_SECONDS, self._take_up, uuid)

    def _take_up(self, uuid: UUID) -> None:
        self._put_off.discard(uuid)
        self._due.add(uuid)
        self._changed.add(uuid)
        self._news.set()

    async def _resync_for_ever(self) -> None:
        while True:
            worked = await self._safely(self.resync)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._resync.wait(), RESYNC_SECONDS if worked else RETRY_SECONDS)
            self._resync.clear()

    async def _ring_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RING_SECONDS)
            if self.node is not None:
                await self._safely(self.ring)

    @staticmethod
    async def _safely(work: Callable[[], object]) -> bool:
        """Run blocking work in a thread; log what goes wrong and go on. Returns whether it went well."""

        def do() -> bool:
            close_old_connections()
            try:
                work()
            except errors.HypervisorError as error:
                log.warning("hypervisor_trouble", error=error.code, detail=error.detail[:300])
                return False
            except Exception:
                log.exception("node_agent_trouble")
                return False
            finally:
                close_old_connections()  # this thread may not be asked again
            return True

        return bool(await sync_to_async(do, thread_sensitive=False)())

    # --- blocking work, in threads ---------------------------------------------------------------------------
    def ring(self) -> None:
        """Ring again for what waits on this node, and end what is past its time.

        Beat does so too, but it goes by its host's clock, and stands still for as long as that was set back.
        """
        sweeps.ring_due(RING_OLDER_THAN, self.node)
        sweeps.end_overdue()

    def resync(self) -> None:
        """Register (at first), compare everything, mend what deletes left, see how full the pool is."""
        try:
            if self.node is None:
                self.node = register(self.hypervisor)
                self._reaper = Reaper(self.node, self.hypervisor)
            observer.sync(self.node, self.hypervisor, self.disks())
        except errors.Unavailable:
            self._say_away()
            raise
        ensure_pool(self.node, self.hypervisor)
        host = self.hypervisor.host()
        Node.objects.filter(pk=self.node.pk).update(memory_free_mib=host.memory_free_mib)
        if self._reaper is not None:
            self._reaper.sweep()
        memory.look(self.node, self.hypervisor)
        if self._compared % AUDIT_EVERY == 0:
            devices.look(self.node, self.hypervisor)
        self._compared += 1
        if self._compared % AUDIT_EVERY == 0:
            self._audit(self.node)

    def _audit(self, node: Node) -> None:
        """Count the broken invariants that were broken last time too: what moves while it is looked at is not."""
        found = {f"{breach.code} {breach.what}" for breach in evaluate(self.hypervisor)}
        lasting, self._breaches = found & self._breaches, found
        for breach in sorted(lasting):
            log.error("invariant_broken", breach=breach)
        Node.objects.filter(pk=node.pk).exclude(breaches=len(lasting)).update(breaches=len(lasting))

    def disks(self) -> dict[UUID, bool]:
        """Return of each machine whether its disks are in their pools, as large as they were made.

        Those in the making or going are left out.
        """
        assert self.node is not None
        found: dict[UUID, bool] = {}
        for pool in self.node.pools.all():
            present = {volume.name: volume for volume in self.hypervisor.volumes(pool.name)}
            volumes = Volume.objects.filter(pool=pool).exclude(vm__operations__status__in=LIVE)
            seen = volumes.exclude(vm__observed_state="absent", vm__observed_reason="")
            for volume in seen.only("id", "vm_id", "size_gib"):
                facts = present.get(volume.file_name)
                whole = facts is not None and facts.holds(volume.size_gib * GIB)
                found[volume.vm_id] = found.get(volume.vm_id, True) and whole
        return found

    def _look_again(self, domain_uuid: UUID) -> None:
        """Read a domain again; one that an operation works on just now is put off, once."""
        if domain_uuid in self._due:
            self._due.discard(domain_uuid)
        elif Operation.objects.filter(vm__domain_uuid=domain_uuid, status=OperationStatus.RUNNING).exists():
            self._put_off.add(domain_uuid)
            return
        self.observe_domain(domain_uuid)

    def observe_domain(self, domain_uuid: UUID) -> None:
        """Read one domain again and store what changed."""
        pk = VirtualMachine.objects.filter(domain_uuid=domain_uuid).values_list("pk", flat=True).first()
        if pk is not None:
            observer.observe(pk, domain_uuid, self.hypervisor.domain(domain_uuid))
        if self.node is not None and domain_uuid in self._rebuilt:
            self._rebuilt.discard(domain_uuid)
            devices.look(self.node, self.hypervisor, domain_uuid)

    def _say_away(self) -> None:
        if self.node is not None:
            Node.objects.filter(pk=self.node.pk, hypervisor_ok=True).update(hypervisor_ok=False)
