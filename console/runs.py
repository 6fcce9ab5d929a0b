"""The runs of the node's guests: begun when web asks, carried to their end, gone on with after a restart.

A run is a row (`sandboxes.run_journal`), two files (`console.spool`) and a process in a guest. The row says `running`
before the guest is asked, so that no command is ever begun twice; one that the guest does not know is then lost.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Protocol
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError

from hypervisor.api import Hypervisor
from hypervisor.run_wire import BadOrder, Order
from sandboxes import run_journal
from sandboxes.run_journal import Ending, Job
from sandboxes.states import RunStatus

from .agent_process import AgentExit, AgentProcess
from .blocking import Blocking
from .guest_link import GuestRun, NoRunner, RunLost, RunRefused
from .guest_links import GuestLinks
from .spool import CAP_BYTES, Spool, spooled

log = structlog.get_logger(__name__)
SCAN_SECONDS = 2.0
TIDY_EVERY_SCANS = 300
POLITE_SECONDS = 2.0  # from SIGTERM to SIGKILL
DEAF_SECONDS = 5.0  # from SIGKILL until the run is over whatever the guest says
DRAIN_PAUSE_SECONDS = 0.004  # after each piece that is not kept: a flood gets some 4 MB/s and no more
RETRY_SECONDS = 2.0
RESTARTED = "The gateway restarted, and the guest does not know this run any more."


class Process(Protocol):
    """A command in a guest, by whichever way it is run."""

    @property
    def exited(self) -> object: ...
    async def read(self) -> tuple[int, bytes] | None: ...
    def take(self, stream: int, count: int) -> None: ...
    async def send(self, data: bytes, *, last: bool = False) -> None: ...
    def kill(self, signal: int) -> None: ...
    def forget(self) -> None: ...


@dataclass
class Carried:
    """A run under way. `stop` is set with the status that somebody wants it to end with, or None: drop it."""

    spool: Spool
    stop: asyncio.Future[RunStatus | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    ending: Ending | None = None

    def end_as(self, status: RunStatus | None) -> None:
        if not self.stop.done():
            self.stop.set_result(status)


class Runs:
    def __init__(self, hypervisor: Hypervisor, links: GuestLinks, blocking: Blocking, folder: Path) -> None:
        self.folder = folder
        self._hypervisor = hypervisor
        self._links = links
        self._blocking = blocking
        self._carried: dict[UUID, Carried] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_more = asyncio.Event()  # set, and another one, with each run that is carried

    # --- what web asks ---
    async def start(self, run_id: UUID) -> bool:
        """Begin a run that waits; False where it does not, or is no run of this node. DatabaseError."""
        job = await self._blocking.database(run_journal.begin, run_id, settings.NODE_NAME)
        if job is None:
            return run_id in self._carried
        self._carry_on(job, again=False)
        return True

    def kill(self, run_id: UUID) -> bool:
        """End a run; False where this gateway does not carry it."""
        carried = self._carried.get(run_id)
        if carried is not None:
            carried.end_as(RunStatus.KILLED)
        return carried is not None

    def carried(self, run_id: UUID) -> Carried | None:
        return self._carried.get(run_id)

    async def until_carried(self, run_id: UUID, seconds: float) -> None:
        """Wait until this gateway carries a run, or so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while run_id not in self._carried:
                    await self._one_more.wait()

    # --- all the time ---
    async def run(self) -> None:
        """Go on with what an earlier gateway began, and see what the database says, until cancelled."""
        await self._blocking.disk(lambda: self.folder.mkdir(mode=0o700, parents=True, exist_ok=True))
        scans = 0
        try:
            while True:
                try:
                    await self.scan()
                    if scans % TIDY_EVERY_SCANS == 0:
                        await self._tidy()
                    scans += 1
                except (DatabaseError, OSError):
                    log.exception("runs.scan_failed")
                await asyncio.sleep(SCAN_SECONDS)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def scan(self) -> None:
        """Attach to runs that nobody carries; end those that somebody ended, or wants ended, in the database."""
        for run_id in await self._blocking.database(run_journal.begun, settings.NODE_NAME):
            if run_id not in self._carried:
                job = await self._blocking.database(run_journal.job, run_id)
                if job is not None and run_id not in self._carried:
                    self._carry_on(job, again=True)
        mine = [run_id for run_id, carried in self._carried.items() if carried.ending is None]
        wanted = await self._blocking.database(run_journal.still_wanted, mine) if mine else {}
        for run_id in mine:
            carried = self._carried.get(run_id)
            if carried is None or wanted.get(run_id) is False:
                continue
            carried.end_as(RunStatus.KILLED if run_id in wanted else None)

    async def _tidy(self) -> None:
        found = await self._blocking.disk(spooled, self.folder)
        for run_id in await self._blocking.database(run_journal.without_rows, list(found - set(self._carried))):
            await self._blocking.disk(Spool(self.folder, run_id).remove)

    # --- one run ---
    def _carry_on(self, job: Job, *, again: bool) -> None:
        carried = Carried(Spool(self.folder, job.id))
        self._carried[job.id] = carried
        self._one_more.set()
        self._one_more = asyncio.Event()
        task = asyncio.ensure_future(self._carry(job, carried, again=again))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, job: Job, carried: Carried, *, again: bool) -> None:
        try:
            ending = await self._ending_of(job, carried, again=again)
            await self._write(job, carried, ending)
        finally:
            self._carried.pop(job.id, None)
            carried.spool.ended = True
            carried.spool.tell()
        await self._forget_old(job)  # nobody waits for that

    async def _ending_of(self, job: Job, carried: Carried, *, again: bool) -> Ending:
        try:
            async with self._process(job, carried, again=again) as process:
                return await self._attend(job, carried, process)
        except (RunLost, NoRunner, RunRefused, BadOrder) as error:
            return await self._without_exit(job, error, again=again)
        except Exception:  # its row must not stay for ever
            log.exception("run.broke", run=str(job.id))
            return Ending(RunStatus.FAILED, error_code="internal", error_detail="Something went wrong on our side.")

    async def _without_exit(self, job: Job, error: Exception, *, again: bool) -> Ending:
        log.info("run.no_exit", run=str(job.id), why=repr(error))
        if isinstance(error, BadOrder):
            return Ending(RunStatus.FAILED, error_code="bad_order", error_detail=str(error))
        if isinstance(error, RunRefused) and again:
            return Ending(RunStatus.LOST, error_code="gateway_restarted", error_detail=RESTARTED)
        if isinstance(error, RunRefused):
            return Ending(RunStatus.FAILED, error_code="refused", error_detail=f"The guest refused it: {error}.")
        silent = isinstance(error, NoRunner)
        code, sentence = await self._what_happened(job, "The guest does not answer." if silent else str(error))
        status = RunStatus.FAILED if silent and not again else RunStatus.LOST
        return Ending(status, error_code=code, error_detail=sentence)

    @asynccontextmanager
    async def _process(self, job: Job, carried: Carried, *, again: bool) -> AsyncIterator[Process]:
        """Yield the command, begun or attached, with its stdin on the way: by the runner, else by the agent."""
        order = Order(job.argv, job.env, job.cwd)
        async with contextlib.AsyncExitStack() as stack:
            try:
                link = await stack.enter_async_context(self._links.use(job.domain_uuid))
                run: GuestRun | AgentProcess
                kept = carried.spool.kept
                run = await (link.attach(job.id, *kept) if again else link.begin(order, job.id))
                stdin = job.stdin[run.input_offset :]
            except (NoRunner, RunRefused) as no:
                if isinstance(no, RunRefused) and not again:
                    raise
                try:
                    run, stdin = await self._agent_process(job, order, carried, again=again), job.stdin
                except NoRunner:
                    raise no from None
            feeding = asyncio.ensure_future(_feed(run, stdin))
            try:
                yield run
                run.forget()
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)

    async def _agent_process(self, job: Job, order: Order, carried: Carried, *, again: bool) -> AgentProcess:
        process = AgentProcess(self._hypervisor, self._blocking, job.domain_uuid, job.id, CAP_BYTES)
        if again:
            await process.attach(*carried.spool.kept)
        else:
            await process.begin(order)
        return process

    async def _attend(self, job: Job, carried: Carried, process: Process) -> Ending:
        """Keep what it says until it ends, its time is over, or somebody ends it; RunLost."""
        pumping = asyncio.ensure_future(self._pump(process, carried.spool))
        status: RunStatus | None = RunStatus.EXITED
        try:
            left = max(0.0, job.timeout_seconds - job.age_seconds)
            waited: set[asyncio.Future[RunStatus | None] | asyncio.Future[None]] = {pumping, carried.stop}
            await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not pumping.done():
                status = carried.stop.result() if carried.stop.done() else RunStatus.TIMED_OUT
                for signal, seconds in ((SIGTERM, POLITE_SECONDS), (SIGKILL, DEAF_SECONDS)):
                    process.kill(signal)
                    await asyncio.wait({pumping}, timeout=seconds)
                    if pumping.done():
                        break
            if pumping.done():
                pumping.result()
        finally:
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)
        return _ending(status, process.exited)

    async def _pump(self, process: Process, spool: Spool) -> None:
        while (piece := await process.read()) is not None:
            stream, data = piece
            full = spool.full(stream)
            try:
                await self._blocking.disk(spool.append, stream, data)
            except OSError:  # no room: it is counted as cut off
                log.exception("run.spool_failed", run=str(spool.run_id))
            process.take(stream, len(data))
            spool.tell()
            if full:
                await asyncio.sleep(DRAIN_PAUSE_SECONDS)

    async def _what_happened(self, job: Job, otherwise: str) -> tuple[str, str]:
        with contextlib.suppress(DatabaseError):
            code, sentence = await self._blocking.database(run_journal.what_happened, job.vm_id, job.domain_uuid)
            if code != "machine_gone":
                return code, sentence
        return "guest_lost", otherwise

    async def _write(self, job: Job, carried: Carried, ending: Ending) -> None:
        """Write it down, however long the database is away."""
        spool = carried.spool
        whole = Ending(
            ending.status, ending.exit_code, ending.signal, ending.error_code, ending.error_detail,
            (spool.totals[0], spool.totals[1]), spool.truncated,
        )  # fmt: skip
        while True:
            try:
                await self._blocking.database(run_journal.end, job.id, whole)
            except DatabaseError:
                log.exception("run.not_written", run=str(job.id))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            carried.ending = whole
            return

    async def _forget_old(self, job: Job) -> None:
        with contextlib.suppress(DatabaseError, OSError):  # the next one's end does it, and `_tidy` what is left
            for run_id in await self._blocking.database(run_journal.forget_old, job.vm_id):
                await self._blocking.disk(Spool(self.folder, run_id).remove)


async def _feed(process: Process, stdin: bytes) -> None:
    with contextlib.suppress(RunLost):  # who reads its output hears of that, too
        await process.send(stdin, last=True)


def _ending(status: RunStatus | None, exited: object) -> Ending:
    """Of a run that was dropped nothing is written: somebody else wrote how it ended."""
    code = getattr(exited, "code", None)
    signal = getattr(exited, "signal", None)
    if code is None and signal is not None:
        code = 128 + signal
    if status is None:
        return Ending(RunStatus.LOST)
    if status is RunStatus.EXITED and code is None:
        return Ending(RunStatus.LOST, error_code="guest_lost", error_detail="The guest did not say how it ended.")
    if isinstance(exited, AgentExit) and code is not None and code > 128:
        signal = code - 128
    return Ending(status, code, signal)
