"""The gateway through its ASGI application: Origins, refusals before the first byte, cuts, serial (A1-A3, A21)."""

import asyncio
import contextlib
import tempfile
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from django.db import OperationalError
from django.db.models.functions import Now

from accounts.services import deactivate_user, revoke_token
from console.gateway import Gateway
from hypervisor.errors import Unavailable
from hypervisor.specs import DomainState
from sandboxes import sweeps
from sandboxes.models import Sandbox
from tests.portal.consoles import (
    DEADLINE,
    ORIGIN,
    Displays,
    Socket,
    browser_actor,
    console,
    eventually,
    in_database,
    origins,
    ticket,
    token_actor,
    with_ticket,
)
from tests.portal.lab import make_lab, stub_gateway
from tests.serial_line import FakeQemu
from vms import console_access, services
from vms.models import ConsoleSession, ConsoleTicket, VirtualMachine
from vms.services import request_console

pytestmark = pytest.mark.django_db(transaction=True)

# every way in which a page that is not ours, or is tampered with, may name itself (A3)
WRONG_ORIGINS = {
    "missing": [],
    "null": ["null"],
    "evil": ["https://evil.example"],
    "ours below evil": ["https://evil.portal.example:8443"],
    "evil below ours": ["https://portal.example.evil.example:8443"],
    "other port": ["https://portal.example:9443"],
    "no port": ["https://portal.example"],
    "http": ["http://portal.example:8443"],
    "mixed case": ["https://Portal.example:8443"],
    "idn": ["https://p\u043ertal.example:8443"],
    "punycode": ["https://xn--prtal-kye.example:8443"],
    "trailing dot": ["https://portal.example.:8443"],
    "userinfo": ["https://portal.example:8443@evil.example"],
    "path": ["https://portal.example:8443/"],
    "two headers": [ORIGIN, ORIGIN],
    "two in one": [f"{ORIGIN}, {ORIGIN}"],
    "empty": [""],
    "file": ["file://"],
    "space": [f" {ORIGIN}"],
}


@pytest.fixture
def displays(world, settings):
    settings.PORTAL_ORIGINS = frozenset({ORIGIN, "https://second.example"})
    made = Displays.like(world.hypervisor)
    world.hypervisor = made
    yield made
    made.close_displays()


@pytest.fixture
def vm(world, displays):
    return world.vm()


@pytest.fixture
async def gateway(displays, monkeypatch):
    monkeypatch.setattr("console.consoles.END_SECONDS", 0.5)
    with tempfile.TemporaryDirectory(prefix="sw-") as short:  # socket paths have 107 bytes
        async with Gateway(displays, Path(short)).running() as made:
            made.folder = Path(short)
            yield made


async def issue(world, name, vm, kind="vnc", **options):
    return await in_database(ticket)(world, name, vm, kind, **options)


@contextlib.asynccontextmanager
async def opened(gateway, issued, *headers):
    """Open a console; yields its client, and leaves at the end."""
    client = console(gateway, issued, *headers)
    assert await client.open()
    yield client
    await client.leave()


async def rows():
    return await in_database(ConsoleSession.objects.count)()


async def no_rows():
    return await rows() == 0


# --- opening ----------------------------------------------------------------------------------------------------
async def test_a_browser_sees_and_types_A1(world, vm, gateway, displays):
    async with opened(gateway, await issue(world, "alice", vm), ORIGIN) as client:
        assert await client.read() == b"RFB 003.008\n"
        await client.type(b"RFB 003.008\n")
        loop = asyncio.get_running_loop()
        assert await asyncio.wait_for(loop.sock_recv(displays.ends[0], 64), DEADLINE) == b"RFB 003.008\n"
        assert len(gateway.watch) == await rows() == 1
    await eventually(no_rows)
    assert len(gateway.watch) == 0
    assert await asyncio.wait_for(loop.sock_recv(displays.ends[0], 64), DEADLINE) == b"", "the VM's side is closed"


async def test_a_program_with_a_token_needs_no_origin(world, vm, gateway):
    async with opened(gateway, await issue(world, "bob", vm, by_token=True)) as client:
        assert await client.read() == b"RFB 003.008\n"


async def test_two_viewers_have_a_connection_each(world, vm, gateway, displays):
    async with (
        opened(gateway, await issue(world, "alice", vm), ORIGIN) as first,
        opened(gateway, await issue(world, "bob", vm), ORIGIN) as second,
    ):
        assert await first.read() == await second.read() == b"RFB 003.008\n"
        assert len(displays.ends) == 2


async def test_the_ticket_is_in_no_log_line_A23(world, vm, gateway):
    issued = await issue(world, "alice", vm)
    with structlog.testing.capture_logs() as lines:
        async with opened(gateway, issued, ORIGIN):
            pass
        again = console(gateway, issued, ORIGIN)
        assert await again.open()
        assert await again.closed() == 4401
        wrong = console(gateway, issued, "https://evil.example")
        assert not await wrong.open()
    assert lines
    assert issued.ticket not in repr(lines)


# --- Origins ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["vnc", "serial"])
async def test_only_the_exact_origin_passes_with_a_browsers_ticket_A3(world, vm, gateway, displays, kind):
    issued = await issue(world, "alice", vm, kind)
    passed = [name for name, wrong in WRONG_ORIGINS.items() if await console(gateway, issued, *wrong).open()]
    assert passed == []
    row = await in_database(ConsoleTicket.objects.get)()
    assert row.redeemed_at is None
    assert displays.ends == [], "no byte of the VM was asked for"
    assert await console(gateway, issued, ORIGIN).open()


async def test_another_of_our_origins_is_not_the_tickets_A3(world, vm, gateway):
    issued = await issue(world, "alice", vm)
    assert not await console(gateway, issued, "https://second.example").open()
    async with opened(gateway, issued, ORIGIN):
        pass


async def test_with_a_tokens_ticket_no_origin_may_come_A3(world, vm, gateway, displays):
    issued = await issue(world, "alice", vm, by_token=True)
    tries = [ORIGIN, "https://second.example", *(wrong for wrong in WRONG_ORIGINS.values() if wrong)]
    passed = [one for one in tries if await console(gateway, issued, *([one] if isinstance(one, str) else one)).open()]
    assert passed == []
    assert displays.ends == []
    assert await console(gateway, issued).open()


async def test_a_foreign_page_is_refused_before_its_ticket_is_looked_at_A3(world, vm, gateway):
    issued = with_ticket(await issue(world, "alice", vm), "made-up")
    assert not await console(gateway, issued, "https://evil.example").open()
    ours = console(gateway, issued, ORIGIN)
    assert await ours.open()
    assert await ours.closed() == 4401


# --- refusals ---------------------------------------------------------------------------------------------------
async def test_a_used_ticket_A2(world, vm, gateway, displays):
    issued = await issue(world, "alice", vm)
    async with opened(gateway, issued, ORIGIN) as first:
        assert await first.read()
        again = console(gateway, issued, ORIGIN)
        assert await again.open()
        assert await again.closed() == 4401
        assert len(displays.ends) == 1


async def test_a_handshake_without_one_ticket_and_our_protocol(world, vm, gateway):
    issued = await issue(world, "alice", vm)
    mine = f"ticket.{issued.ticket}"
    for words in ([], ["slipway.v1"], [mine], ["slipway.v1", "ticket."], ["slipway.v1", mine, mine], ["binary"]):
        client = Socket(gateway, f"/console/vnc/{vm.pk}", headers=origins(ORIGIN), protocols=words)
        assert await client.open()
        assert await client.closed() == 4401, words


async def test_there_is_nothing_elsewhere(world, vm, gateway):
    issued = await issue(world, "alice", vm)
    for path in (
        "/",
        "/console",
        "/console/vnc/",
        "/console/vnc/1",
        "/console/vnc/{}/x",
        "/console/vnc/{}/",
        "/ws/status",
    ):
        there = Socket(gateway, path.format(vm.pk), headers=origins(ORIGIN), protocols=issued.protocols)
        assert not await there.open(), path


async def test_a_ticket_at_another_machine_kind_or_gateway_A2(world, vm, gateway, settings, displays):
    other = await in_database(world.vm)("web-2")
    issued = await issue(world, "alice", vm)
    for path in (
        f"/console/vnc/{other.pk}",
        f"/console/serial/{vm.pk}",
        f"/console/spice/{vm.pk}",
        f"/console/vnc/{uuid4()}",
    ):
        client = Socket(gateway, path, headers=origins(ORIGIN), protocols=issued.protocols)
        assert await client.open()
        assert await client.closed() == 4401
    settings.NODE_NAME = "node-2"
    elsewhere = console(gateway, issued, ORIGIN)
    assert await elsewhere.open()
    assert await elsewhere.closed() == 4401
    assert displays.ends == []


async def test_a_sixth_console_A18(world, vm, gateway):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            console_of_alice = opened(gateway, await issue(world, "alice", vm), ORIGIN)
            client = await stack.enter_async_context(console_of_alice)
            assert (await client.read()).startswith(b"RFB")  # it counts; before, it was only accepted
        sixth = console(gateway, await issue(world, "alice", vm), ORIGIN)
        assert await sixth.open()
        assert await sixth.closed() == 4429


async def test_a_machine_that_went_off_after_the_ticket(world, vm, gateway, displays):
    issued = await issue(world, "alice", vm)
    displays.happen(vm.domain_uuid, DomainState.STOPPED, "shutdown")  # nobody has observed it yet
    client = console(gateway, issued, ORIGIN)
    assert await client.open()
    assert await client.closed() == 4409
    await eventually(no_rows)


async def test_a_machine_deleted_after_the_ticket_A1(world, vm, gateway, displays):
    issued = await issue(world, "alice", vm)
    await in_database(services.request_delete)(world.actor("alice"), vm.pk)
    client = console(gateway, issued, ORIGIN)
    assert await client.open()
    assert await client.closed() == 4404
    assert displays.ends == []


async def test_a_hypervisor_that_is_away_is_said_so(world, vm, gateway, displays):
    issued = await issue(world, "alice", vm)
    displays.fail_next("open_graphics", Unavailable("gone"))
    client = console(gateway, issued, ORIGIN)
    assert await client.open()
    assert await client.closed() == 1013


async def test_a_gateway_that_does_not_watch_opens_nothing(world, vm, displays):
    issued = await issue(world, "alice", vm)
    with tempfile.TemporaryDirectory(prefix="sw-") as short:
        assert not await console(Gateway(displays, Path(short)), issued, ORIGIN).open()


# --- cuts -------------------------------------------------------------------------------------------------------
async def test_whoever_loses_the_right_is_cut_within_5_seconds_A21(world, vm, gateway):
    token = await in_database(token_actor)(world, "alice")
    browser = await in_database(browser_actor)(world, "alice")
    losses = [
        (await in_database(request_console)(token, vm.pk, "vnc"), [], lambda: revoke_token(token, token.token_id)),
        (await in_database(request_console)(browser, vm.pk, "vnc"), [ORIGIN], lambda: log_out(browser)),
        (
            await issue(world, "bob", vm),
            [ORIGIN],
            lambda: deactivate_user(world.actor("admin"), world.bob),
        ),
    ]
    async with opened(gateway, await issue(world, "alice", vm), ORIGIN) as kept:
        assert await kept.read()
        clients = []
        for issued, origin, _lose in losses:
            client = console(gateway, issued, *origin)
            assert await client.open()
            assert await client.read() == b"RFB 003.008\n"
            clients.append(client)
        for _issued, _origin, lose in losses:
            await in_database(lose)()
        started = asyncio.get_running_loop().time()
        for client in clients:
            assert await client.closed() == 4403
        assert asyncio.get_running_loop().time() - started < 5
        assert await kept.is_open()
        assert await rows() == 1


def log_out(actor):
    from django.contrib.sessions.models import Session

    Session.objects.filter(session_key=actor.session_key).delete()


async def test_a_machine_seen_off_or_deleted_ends_its_consoles(world, vm, gateway):
    other = await in_database(world.vm)("web-2")
    off = console(gateway, await issue(world, "alice", vm), ORIGIN)
    gone = console(gateway, await issue(world, "alice", other), ORIGIN)
    for client in (off, gone):
        assert await client.open()
        assert await client.read()
    await in_database(VirtualMachine.objects.filter(pk=vm.pk).update)(observed_state="stopped")
    await in_database(services.request_delete)(world.actor("alice"), other.pk)
    await gateway.watch.check()
    assert (await off.closed(), await gone.closed()) == (4409, 4404)


async def test_a_lease_that_ends_closes_the_consoles_of_its_sandbox(world, gateway, monkeypatch):
    stub_gateway(monkeypatch)
    lab = await in_database(make_lab)(world)
    box = await in_database(lab.sandbox)()
    client = console(gateway, await issue(world, "alice", box.vm), ORIGIN)
    assert await client.open()
    assert await client.read()
    await in_database(Sandbox.objects.update)(expires_at=Now() - timedelta(seconds=1))
    assert await in_database(sweeps.end_leases)() == 1
    await gateway.watch.check()
    assert await client.is_open()  # until it is off: what happens at the end may be watched
    await in_database(world.drain)()
    await gateway.watch.check()
    assert await client.closed() == 4409
    await eventually(no_rows)
    assert (await in_database(lab.again)(box)).lease_status == "ended"


async def test_a_display_that_closes_because_its_machine_went_off(world, vm, gateway, displays):
    client = console(gateway, await issue(world, "alice", vm), ORIGIN)
    assert await client.open()
    assert await client.read()
    displays.happen(vm.domain_uuid, DomainState.STOPPED, "shutdown")
    displays.ends[0].close()
    assert await client.closed() == 4409


async def test_a_display_that_closes_on_a_machine_that_runs_asks_to_come_back(world, vm, gateway, displays):
    client = console(gateway, await issue(world, "alice", vm), ORIGIN)
    assert await client.open()
    assert await client.read()
    displays.ends[0].close()
    assert await client.closed() == 1012


async def test_a_database_that_is_away_cuts_nobody_at_once_and_everybody_in_the_end(world, vm, gateway, monkeypatch):
    client = console(gateway, await issue(world, "alice", vm), ORIGIN)
    assert await client.open()
    assert await client.read()

    def away(_grants):
        raise OperationalError("away")

    monkeypatch.setattr(console_access, "verdicts", away)
    await gateway.watch.check()
    assert await client.is_open()
    monkeypatch.setattr("console.watch.UNCHECKED_AT_MOST_SECONDS", 0)
    await gateway.watch.check()
    assert await client.closed() == 1013


# --- the gateway's own life -------------------------------------------------------------------------------------
async def test_a_new_gateway_removes_the_rows_of_the_last_one(world, vm, displays):
    issued = await issue(world, "alice", vm)
    await in_database(console_access.redeem)(issued.ticket, vm_id=vm.pk, kind="vnc", node="node-1")
    assert await rows() == 1
    with tempfile.TemporaryDirectory(prefix="sw-") as short:
        async with Gateway(displays, Path(short)).running():
            assert await rows() == 0


async def test_it_starts_and_stops_as_asgi_servers_ask(displays):
    with tempfile.TemporaryDirectory(prefix="sw-") as short:
        gateway = Gateway(displays, Path(short))
        heard, said = asyncio.Queue(), asyncio.Queue()
        life = asyncio.ensure_future(gateway({"type": "lifespan"}, heard.get, said.put))
        heard.put_nowait({"type": "lifespan.startup"})
        assert (await asyncio.wait_for(said.get(), DEADLINE))["type"] == "lifespan.startup.complete"
        heard.put_nowait({"type": "lifespan.shutdown"})
        assert (await asyncio.wait_for(said.get(), DEADLINE))["type"] == "lifespan.shutdown.complete"
        await life


async def test_one_that_stops_asks_its_clients_to_come_back_F14(world, vm, displays):
    with tempfile.TemporaryDirectory(prefix="sw-") as short:
        async with Gateway(displays, Path(short)).running() as gateway:
            client = console(gateway, await issue(world, "alice", vm), ORIGIN)
            assert await client.open()
            assert await client.read()
        assert await client.closed() == 1012
    assert await rows() == 0


async def test_a_console_that_closes_during_a_check_leaves_no_row(world, vm, gateway, monkeypatch):
    client = console(gateway, await issue(world, "alice", vm), ORIGIN)
    assert await client.open()
    assert await client.read()
    loop, real = asyncio.get_running_loop(), console_access.keep

    def keep(grants):  # in the thread of the check: the client leaves right before
        asyncio.run_coroutine_threadsafe(client.leave(), loop).result(DEADLINE)
        return real(grants)

    monkeypatch.setattr(console_access, "keep", keep)
    await gateway.watch.check()
    assert await rows() == 0


# --- serial -----------------------------------------------------------------------------------------------------
async def test_a_serial_console_has_the_past_and_carries_what_is_typed(world, vm, gateway):
    qemu = FakeQemu(gateway.folder, vm.domain_uuid)
    await qemu.accept()
    await qemu.say(b"Welcome\r\nlogin: ")
    async with opened(gateway, await issue(world, "alice", vm, "serial"), ORIGIN) as first:
        assert await first.read() == b"Welcome\r\nlogin: "
        async with opened(gateway, await issue(world, "bob", vm, "serial", by_token=True)) as second:
            assert await second.read() == b"Welcome\r\nlogin: "
            await first.type(b"root\r")
            assert await qemu.hear(5) == b"root\r"
            await qemu.say(b"# ")
            assert await first.read() == await second.read() == b"# "
    qemu.die()


async def test_a_serial_console_ends_with_its_machine(world, vm, gateway, displays):
    qemu = FakeQemu(gateway.folder, vm.domain_uuid)
    await qemu.accept()
    client = console(gateway, await issue(world, "alice", vm, "serial"), ORIGIN)
    assert await client.open()
    displays.happen(vm.domain_uuid, DomainState.STOPPED, "shutdown")
    qemu.die()
    assert await client.closed() == 4409


async def test_a_serial_line_that_is_not_there_asks_to_come_back(world, vm, gateway):
    client = console(gateway, await issue(world, "alice", vm, "serial"), ORIGIN)
    assert await client.open()
    assert await client.closed() == 1012
