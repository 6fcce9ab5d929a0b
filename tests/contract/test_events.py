"""Events: hints that something happened, and a None whenever the connection came or went."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from hypervisor.factory import open_events
from hypervisor.fake import FakeHypervisor
from hypervisor.specs import DomainEvent
from tests.contract.proxy import Proxy
from tests.contract.rigs import URIS, Rig

Seen = list[DomainEvent | None]


@asynccontextmanager
async def listening(uri: str) -> AsyncIterator[Seen]:
    """What arrived so far; the block starts when the source has connected."""
    seen: Seen = []
    connected = asyncio.Event()

    async def listen() -> None:
        async with aclosing(open_events(uri).listen()) as events:  # type: ignore[type-var]
            async for event in events:
                seen.append(event)
                connected.set()

    task = asyncio.create_task(listen())
    try:
        await asyncio.wait_for(connected.wait(), 20)
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(seen: Seen, *wanted: DomainEvent | None, times: int = 1) -> None:
    deadline = asyncio.get_running_loop().time() + 20
    while any(seen.count(event) < times for event in wanted):
        assert asyncio.get_running_loop().time() < deadline, f"waiting for {wanted}, seen {seen}"
        await asyncio.sleep(0.01)


async def test_what_happens_to_a_domain_is_told(rig: Rig) -> None:
    if isinstance(rig.hypervisor, FakeHypervisor):
        heard: list[DomainEvent] = []
        rig.hypervisor.listeners.append(heard.append)
        spec = rig.make()
        rig.hypervisor.start(spec.uuid)
        rig.hypervisor.force_off(spec.uuid)
        rig.hypervisor.undefine(spec.uuid)
        assert [event.what for event in heard] == ["defined", "lifecycle", "lifecycle", "undefined"]
        return
    async with listening(URIS[rig.name]) as seen:
        spec = await asyncio.to_thread(rig.make)
        await until(seen, None, DomainEvent(spec.uuid, "defined"))
        await asyncio.to_thread(rig.hypervisor.start, spec.uuid)
        await until(seen, DomainEvent(spec.uuid, "started"))
        await asyncio.to_thread(rig.hypervisor.pause, spec.uuid)
        await until(seen, DomainEvent(spec.uuid, "paused"))
        await asyncio.to_thread(rig.hypervisor.resume, spec.uuid)
        await until(seen, DomainEvent(spec.uuid, "resumed"))
        await asyncio.to_thread(rig.hypervisor.force_off, spec.uuid)
        await until(seen, DomainEvent(spec.uuid, "stopped"))
        await asyncio.to_thread(rig.hypervisor.undefine, spec.uuid)
        await until(seen, DomainEvent(spec.uuid, "undefined"))


async def test_a_lost_connection_is_told_and_made_again_F5(qemu: Rig, tmp_path: Path) -> None:
    proxy = Proxy(tmp_path / "libvirt-sock")
    try:
        async with listening(proxy.uri) as seen:
            assert seen == [None]
            proxy.hang_up()
            await until(seen, None, times=2)  # gone
            proxy.open()
            await until(seen, None, times=3)  # back
            spec = await asyncio.to_thread(qemu.make)
            await until(seen, DomainEvent(spec.uuid, "defined"))
    finally:
        proxy.hang_up()


def test_events_work_on_uvloop_as_well(qemu: Rig) -> None:
    import uvloop

    async def main() -> None:
        async with listening(URIS["qemu"]) as seen:
            spec = await asyncio.to_thread(qemu.make)
            await until(seen, DomainEvent(spec.uuid, "defined"))

    uvloop.run(main())
