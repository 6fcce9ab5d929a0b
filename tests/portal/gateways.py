"""A gateway on a port of the loopback interface, with guests whose runner is a process of this host."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from channels.db import database_sync_to_async

from console.gateway import Gateway
from sandboxes import gateway_runs
from sandboxes.models import Run
from tests.guest_programs import RunnerProcess
from vms import gateway_calls
from vms.models import Node, VirtualMachine

DEADLINE = 20.0
in_thread = database_sync_to_async  # what blocks, and what touches the database


class LiveGateway:
    """`folder` holds the channels' sockets. `start` and `stop` are a gateway's life; another may follow."""

    def __init__(self, hypervisor: Any, program: Path, folder: Path) -> None:
        self.hypervisor = hypervisor
        self.folder = folder
        self.gateway: Gateway | None = None
        self._program = program
        self._guests: list[RunnerProcess] = []
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stack = contextlib.AsyncExitStack()

    def guest(self, vm: VirtualMachine) -> RunnerProcess:
        """Let the machine's runner answer."""
        process = RunnerProcess(self._program, self.folder / f"{vm.domain_uuid}.run")
        self._guests.append(process)
        return process

    async def start(self) -> None:
        self.gateway = await self._stack.enter_async_context(Gateway(self.hypervisor, self.folder).running())
        config = uvicorn.Config(self.gateway, "127.0.0.1", 0, log_config=None, lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._serving = asyncio.ensure_future(self._server.serve())
        while not self._server.started:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        await in_thread(Node.objects.update)(gateway_url=f"http://127.0.0.1:{port}")

    async def stop(self) -> None:
        """End it as a restart does: what runs in guests stays."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = self._server.force_exit = True
            await self._serving
        await self._stack.aclose()
        self._stack = contextlib.AsyncExitStack()
        self._server = None
        gateway_calls._client().close()
        gateway_calls._client.cache_clear()

    def end_guests(self) -> None:
        for guest in self._guests:
            guest.stop()


@contextlib.asynccontextmanager
async def live_gateway(hypervisor: Any, program: Path) -> AsyncIterator[LiveGateway]:
    with tempfile.TemporaryDirectory(prefix="sw-") as short:  # socket paths have 107 bytes
        made = LiveGateway(hypervisor, program, Path(short))
        try:
            await made.start()
            yield made
        finally:
            await made.stop()
            made.end_guests()


@in_thread
def new_run(vm: VirtualMachine, script: str = "", *, argv: list[str] | None = None, **fields: Any) -> Run:
    """Make the row of a run that waits."""
    return Run.objects.create(
        vm=vm, created_by=vm.created_by, command=script, argv=argv or ["/bin/sh", "-c", script], **fields
    )


async def run_to_end(vm: VirtualMachine, script: str = "", **fields: Any) -> Run:
    run = await new_run(vm, script, **fields)
    await in_thread(gateway_runs.start)(run)
    return await ended(run)


async def ended(run: Run) -> Run:
    """Wait until the row says how it ended."""
    async with asyncio.timeout(DEADLINE):
        while True:
            await in_thread(run.refresh_from_db)()
            if not run.is_live:
                return run
            await asyncio.sleep(0.02)


async def said(run: Run, stream: str = "stdout") -> bytes:
    """Return all that is kept of a stream."""
    out, offset = b"", 0
    while True:
        piece = await in_thread(gateway_runs.output)(run, stream, offset)
        out, offset = out + piece.data, piece.next_offset
        if piece.ended or not piece.data:
            return out
