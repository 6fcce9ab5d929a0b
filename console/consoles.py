"""A console from its handshake to its end, as a plain ASGI callable below the gateway's router."""

import asyncio
import os
import socket
from uuid import UUID

import structlog
from django.db import DatabaseError

from accounts.origins import origin_of
from hypervisor.api import Hypervisor
from hypervisor.errors import HypervisorError, NotFound, WrongState
from hypervisor.specs import DomainState
from vms import console_access
from vms.console_access import ConsoleRefused, Grant, Refused

from . import handshake, tunnels
from .blocking import Blocking
from .relay import Duplex, Ended, Message, Receive, Send, Side, Stream, relay
from .serial_hub import SerialHub
from .watch import TRY_AGAIN_LATER, Watch
from .websocket import DIRECT

log = structlog.get_logger(__name__)
SERVICE_RESTART = 1012  # close code: come back with a new ticket
END_SECONDS = 6.0  # libvirt knows the end of a QEMU 1 to 2 s after its sockets closed, later on a busy host
END_POLL_SECONDS = 0.25
ACTIVE = (DomainState.RUNNING, DomainState.PAUSED)


class NoStream(Exception):
    """The VM's side could not be opened; `code` is the websocket's close code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Consoles:
    def __init__(self, hypervisor: Hypervisor, serial: SerialHub, watch: Watch, blocking: Blocking) -> None:
        self._hypervisor = hypervisor
        self._serial = serial
        self._watch = watch
        self._blocking = blocking
        self._under_way: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            await self._handle(scope, receive, send)
        finally:
            self._under_way.discard(task)

    async def end_all(self) -> None:
        """Ask every client to come back later, and wait a moment until all have been told."""
        self._watch.end_all(SERVICE_RESTART)
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=handshake.CLOSE_SECONDS + 1)

    async def _handle(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        try:
            hello = handshake.read_hello(scope)
            await handshake.check_origin(hello, self._blocking)
        except handshake.WrongOrigin:
            log.info("console.wrong_origin", origin=origin_of(scope))
            await handshake.deny(send)
            return
        except DatabaseError:
            log.exception("console.no_database")
            await handshake.deny(send)
            return
        await handshake.accept(send)
        client = scope.get("extensions", {}).get(DIRECT)
        await handshake.close(send, await self._redeem_and_serve(hello, receive, send, client))

    async def _redeem_and_serve(self, hello: handshake.Hello, receive: Receive, send: Send, client: Side | None) -> int:
        try:
            grant = await handshake.redeem(hello, self._blocking)
        except ConsoleRefused as refused:
            log.info("console.refused", why=refused.code.name.lower(), vm=str(hello.vm_id))
            return refused.code
        except DatabaseError:
            log.exception("console.no_database")
            return TRY_AGAIN_LATER
        return await self._serve(grant, receive, send, client)

    async def _serve(self, grant: Grant, receive: Receive, send: Send, client: Side | None) -> int:
        """Carry the console; return the close code to end it with."""
        console = self._watch.add(grant)
        try:
            stream = await self._open(grant)
            try:
                ended = await relay(receive, send, stream, console.cut, client)
            finally:
                stream.close()
            if ended is Ended.CUT:
                return console.cut.result()
            if ended is Ended.STREAM and grant.kind != "ssh":  # who logs out ends the stream of a machine that runs
                return await self._why(grant)
            return 1000
        except NoStream as error:
            return error.code
        finally:
            self._watch.remove(grant)
            await asyncio.shield(self._close(grant))

    async def _close(self, grant: Grant) -> None:
        try:
            await self._blocking.database(console_access.close, grant)
        except DatabaseError:  # the row's age tells
            log.warning("console.row_left", console=str(grant.session_id))

    async def _open(self, grant: Grant) -> Duplex:
        if grant.kind == "serial":
            viewer = await self._serial.view(grant.domain_uuid)
            if viewer is None:
                raise NoStream(await self._why(grant))
            return viewer
        if grant.kind == "ssh":
            return await self._open_tunnel(grant)
        return await self._open_graphics(grant.domain_uuid)

    async def _open_graphics(self, uuid: UUID) -> Stream:
        try:
            descriptor = await self._blocking.hypervisor(self._hypervisor.open_graphics, uuid, late=os.close)
        except (NotFound, WrongState):
            raise NoStream(Refused.NOT_RUNNING) from None
        except (HypervisorError, TimeoutError) as error:
            log.warning("console.no_graphics", domain=str(uuid), error=repr(error))
            raise NoStream(TRY_AGAIN_LATER) from None
        display = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor)
        display.setblocking(False)
        loop = asyncio.get_running_loop()
        _transport, stream = await loop.create_unix_connection(Stream, sock=display)
        return stream

    async def _open_tunnel(self, grant: Grant) -> Stream:
        try:
            places = await self._blocking.database(console_access.addresses_of, grant)
        except DatabaseError:
            raise NoStream(TRY_AGAIN_LATER) from None
        for address, bridge in places:
            stream = await tunnels.open_tunnel(address, bridge)
            if stream is not None:
                return stream
        raise NoStream(Refused.NO_ANSWER)

    async def _why(self, grant: Grant) -> int:
        """Return the close code for a stream that ended or was not there: what do database and domain say?"""
        loop = asyncio.get_running_loop()
        until = loop.time() + END_SECONDS
        while True:
            try:
                refused = await self._blocking.database(console_access.verdicts, [grant])
                facts = await self._blocking.hypervisor(self._hypervisor.domain, grant.domain_uuid)
            except (DatabaseError, HypervisorError, TimeoutError):
                return SERVICE_RESTART
            if grant.session_id in refused:
                return refused[grant.session_id]
            if facts is None or facts.state not in ACTIVE:
                return Refused.NOT_RUNNING
            if loop.time() > until:
                return SERVICE_RESTART
            await asyncio.sleep(END_POLL_SECONDS)
