"""The tunnel to a machine's SSH server: to its own address alone, and a sentence where nothing answers."""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import pytest

from console import tunnels
from console.gateway import Gateway
from tests.portal.consoles import DEADLINE, ORIGIN, browser_actor, console, in_database, ticket
from vms import services
from vms.models import ConsoleSession, Network, Nic
from vms.services import request_console

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.enable_socket]  # loopback only


@pytest.fixture
async def gateway(world, settings):
    settings.PORTAL_ORIGINS = frozenset({ORIGIN})
    with tempfile.TemporaryDirectory(prefix="sw-") as short:
        async with Gateway(world.hypervisor, Path(short)).running() as made:
            yield made


@pytest.fixture
def vm(world):
    """A machine whose address is on this host: its network's bridge is the loopback interface."""
    made = world.vm()
    Nic.objects.filter(vm=made).update(address="127.0.0.1")
    Network.objects.update(bridge="lo")
    return made


@contextlib.asynccontextmanager
async def ssh_server(monkeypatch, greeting=b"SSH-2.0-test\r\n", port=0):
    """Serve port 22 elsewhere; yields the queue of connections."""
    connections = asyncio.Queue()

    async def serve(reader, writer):
        writer.write(greeting)
        await connections.put((reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    monkeypatch.setattr("console.tunnels.SSH_PORT", server.sockets[0].getsockname()[1])
    async with server:
        yield connections
        server.close()
        while not connections.empty():
            connections.get_nowait()[1].close()


async def opened(gateway, world, vm):
    client = console(gateway, await in_database(ticket)(world, "alice", vm, "ssh", by_token=True))
    assert await client.open()
    return client


async def test_bytes_go_both_ways_and_a_logout_is_a_normal_end(world, vm, gateway, monkeypatch):
    async with ssh_server(monkeypatch) as connections:
        client = await opened(gateway, world, vm)
        assert await client.read() == b"SSH-2.0-test\r\n"
        assert await in_database(ConsoleSession.objects.get)()
        await client.type(b"SSH-2.0-client\r\n")
        reader, writer = await asyncio.wait_for(connections.get(), DEADLINE)
        assert await asyncio.wait_for(reader.readexactly(16), DEADLINE) == b"SSH-2.0-client\r\n"
        writer.close()
        assert await client.closed() == 1000
    assert await in_database(ConsoleSession.objects.count)() == 0


async def test_the_machine_sees_that_its_client_left(world, vm, gateway, monkeypatch):
    async with ssh_server(monkeypatch) as connections:
        client = await opened(gateway, world, vm)
        assert await client.read()
        await client.leave()
        reader, writer = await asyncio.wait_for(connections.get(), DEADLINE)
        with contextlib.suppress(ConnectionResetError):  # left at once, with what was not sent
            assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
        writer.close()


async def test_nothing_answers(world, vm, gateway, monkeypatch):
    monkeypatch.setattr("console.tunnels.CONNECT_SECONDS", 0.3)
    async with ssh_server(monkeypatch):
        pass  # a port that was just ours, and is closed now
    assert await (await opened(gateway, world, vm)).closed() == 4504


async def test_a_server_that_is_about_to_start_is_waited_for(world, vm, gateway, monkeypatch):
    """A clone's starts again when it is given its host keys."""
    waits = asyncio.Queue()
    sleep = asyncio.sleep

    async def watched(seconds, *more):
        if seconds == tunnels.REFUSED_PAUSE_SECONDS:
            waits.put_nowait(seconds)
        return await sleep(seconds, *more)

    async with ssh_server(monkeypatch):
        pass
    monkeypatch.setattr(asyncio, "sleep", watched)
    client = await opened(gateway, world, vm)
    await asyncio.wait_for(waits.get(), DEADLINE)
    async with ssh_server(monkeypatch, port=tunnels.SSH_PORT):
        assert await client.read() == b"SSH-2.0-test\r\n"


async def test_an_address_is_looked_for_on_its_own_bridge_alone(world, vm, gateway, monkeypatch):
    """A network without the host on it: its addresses must not be asked for along the host's other routes."""
    await in_database(Network.objects.update)(bridge="sw-not-there")
    async with ssh_server(monkeypatch) as connections:
        assert await (await opened(gateway, world, vm)).closed() == 4504
        assert connections.empty()


async def test_a_machine_behind_which_there_is_another_domain_now(world, vm, gateway, monkeypatch):
    async with ssh_server(monkeypatch) as connections:
        issued = await in_database(request_console)(await in_database(browser_actor)(world, "alice"), vm.pk, "ssh")
        await in_database(services.request_delete)(world.actor("alice"), vm.pk)
        client = console(gateway, issued, ORIGIN)
        assert await client.open()
        assert await client.closed() == 4404
        assert connections.empty()
