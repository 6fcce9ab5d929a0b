"""The gateway's connection to the runner of one domain, with any number of runs over it. No Django in here.

What a run says waits here until it is `taken`: WINDOW_BYTES of each stream at most, after which the guest holds that
stream back, and no other. So memory is bounded whatever a guest sends; one that breaks a rule loses its connection.
"""

import asyncio
from collections import deque
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import structlog

from hypervisor import run_wire as wire

log = structlog.get_logger(__name__)
ANSWER_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.1  # before a hello is said again
ORPHAN_SECONDS = 30.0  # after which what the guest still holds, and nobody has asked for, is given up
FRAMES_A_SECOND = 4000  # of 16 KiB at most: with more it is not read for a while, as each costs everybody's event loop
UNREAD_BYTES = 4 * 1024 * 1024  # waiting for a guest that does not read: more than all windows hold


class NoRunner(Exception):
    """Nobody answers on this domain's channel, or there is none."""


class RunRefused(Exception):
    """The guest does not start it; the text is the guest's reason."""


class RunLost(Exception):
    """The connection ended before the run did; the text says how."""


class GuestRun:
    """One run. A reader takes pieces with `read` and says when it is done with them; writers wait in `send`."""

    def __init__(self, link: "GuestLink", run_id: UUID, offsets: tuple[int, int] = (0, 0)) -> None:
        self.id = run_id
        self.offsets = list(offsets)  # of each stream, what has arrived
        self._taken = list(offsets)
        self._link = link
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._sent = self._passed_on = self.input_offset = 0
        self._exited: wire.Exited | None = None
        self._problem: RunLost | None = None
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self.begun: asyncio.Future[wire.State] = asyncio.get_running_loop().create_future()

    # --- for whoever carries the run ---
    @property
    def exited(self) -> wire.Exited | None:
        return self._exited

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next piece of a stream (0 stdout, 1 stderr), or None after the last; RunLost."""
        while not self._pieces:
            if self._exited is not None:
                return None
            if self._problem is not None:
                raise self._problem
            self._changed.clear()
            await self._changed.wait()
        return self._pieces.popleft()

    def take(self, stream: int, count: int) -> None:
        """Say that so many bytes of a stream have been dealt with: the guest may send more."""
        self._taken[stream] += count
        self._link.send(wire.taken(self.id, *self._taken))

    async def send(self, data: bytes, *, last: bool = False) -> None:
        """Write to stdin, as fast as it is read; what nobody reads is lost. RunLost."""
        rest = memoryview(data)
        while True:
            room = self._passed_on + wire.WINDOW_BYTES - self._sent
            piece = bytes(rest[: max(room, 0)])
            rest = rest[len(piece) :]
            if piece or (last and not rest):
                self._link.send(wire.stdin(self.id, self._sent, piece, last=last and not rest))
                self._sent += len(piece)
            if not rest or self._exited is not None:
                return
            if self._problem is not None:
                raise self._problem
            self._room.clear()
            await self._room.wait()

    def kill(self, signal: int) -> None:
        self._link.send(wire.kill(self.id, signal))

    def forget(self) -> None:
        """Nothing of it is wanted any more; in the guest it is killed if it still runs."""
        self._link.drop(self)

    # --- for the link ---
    def handle(self, event: wire.Event) -> None:
        match event:
            case wire.State():
                if not self.begun.done():
                    self._sent = self.input_offset = event.input_offset  # of a run that is gone on with
                    self.begun.set_result(event)
            case wire.Refused(reason=reason):
                if not self.begun.done():
                    self.begun.set_exception(RunRefused(reason))
                else:
                    self.lose("The guest does not know this run any more.")
            case wire.Output(stream=stream, offset=offset, data=data):
                self._arrive(stream, offset, data)
            case wire.Wanted(offset=offset):
                if not self._passed_on <= offset <= self._sent:
                    raise wire.ProtocolError("wants input that was not sent")
                self._passed_on = offset
                self._room.set()
            case wire.Exited():
                self._exited = event
                self._room.set()
        self._changed.set()

    def _arrive(self, stream: int, offset: int, data: bytes) -> None:
        jumped = offset - self.offsets[stream]
        if jumped < 0 or self._exited is not None:
            raise wire.ProtocolError("output that was there before")
        if jumped:  # an earlier gateway had more of it than its spool keeps
            self._taken[stream] += jumped
        self.offsets[stream] = offset + len(data)
        if self.offsets[stream] - self._taken[stream] > wire.WINDOW_BYTES:
            raise wire.ProtocolError("more output than may be on the way")
        self._pieces.append((stream, data))

    def lose(self, why: str) -> None:
        self._problem = RunLost(why)
        if not self.begun.done():
            self.begun.set_exception(self._problem)
            self.begun.exception()  # somebody may have stopped waiting for it
        self._changed.set()
        self._room.set()


class GuestLink(asyncio.Protocol):
    """The connection. `closed` tells that it is of no use any more."""

    def __init__(self, session: UUID) -> None:
        self.closed = False
        self._runs: dict[UUID, GuestRun] = {}
        self._held: set[UUID] = set()
        self._nonce = wire.new_nonce()
        self._decoder = wire.Decoder(self._nonce)
        self._allowance, self._allowed_at = float(FRAMES_A_SECOND), asyncio.get_running_loop().time()
        self._session = session
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs: dict[bytes, asyncio.Future[None]] = {}
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, path: Path, session: UUID) -> "GuestLink":
        """Connect to a domain's channel and wait for its runner, 5 s at most; NoRunner."""
        link = cls(session)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await loop.create_unix_connection(lambda: link, str(path))
                await link._greet()
        except (OSError, RunLost) as error:  # a timeout is the former
            link.close()
            raise NoRunner(str(error) or "no answer") from None
        except BaseException:
            link.close()
            raise
        loop.call_later(ORPHAN_SECONDS, link._forget_orphans)
        return link

    async def _greet(self) -> None:
        """Say hello until it is answered: in a guest that hears the data before the connection, the first is lost.

        Nothing else is sent before the answer, so a second hello disturbs nobody.
        """
        pause = FIRST_PAUSE_SECONDS
        while not (await asyncio.wait([self._greeted], timeout=pause))[0]:
            self.send(wire.hello(self._session, self._nonce))
            pause = min(pause * 2, 1.0)
        await self._greeted

    @property
    def busy(self) -> bool:
        return bool(self._runs)

    @property
    def holds(self) -> bool:
        """Does the guest still hold what nobody has asked for? It is given up soon, by this connection."""
        return bool(self._held) and not self.closed

    async def begin(self, order: wire.Order, run_id: UUID | None = None) -> GuestRun:
        """Start a command; RunRefused, BadOrder, and RunLost also where nothing is said within 5 s."""
        run = GuestRun(self, run_id or uuid4())
        try:
            return await self._introduce(run, wire.begin(run.id, order))
        except NoRunner:  # it may have been heard, and nothing is begun twice
            try:
                await self.ping()
            except NoRunner:  # the guest's runner is another one, which knows nothing of this connection
                self._break("The guest's runner does not answer any more.")
            raise RunLost("The guest did not say whether it began.") from None

    async def attach(self, run_id: UUID, stdout: int, stderr: int) -> GuestRun:
        """Go on with a run that was begun over an earlier connection, from these offsets; NoRunner after 5 s."""
        run = GuestRun(self, run_id, (stdout, stderr))
        return await self._introduce(run, wire.attach(run_id, stdout, stderr))

    async def _introduce(self, run: GuestRun, words: bytes) -> GuestRun:
        self._runs[run.id] = run
        self._held.discard(run.id)
        self.send(words)
        if self.closed:
            run.lose("The connection to the guest has ended.")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.shield(run.begun)
        except TimeoutError:
            self.drop(run)
            raise NoRunner("no answer") from None
        except BaseException:
            self.drop(run)
            raise
        return run

    async def ping(self) -> None:
        """Return when the guest's runner has answered; NoRunner after 5 s."""
        word = wire.new_nonce()
        self._pongs[word] = asyncio.get_running_loop().create_future()
        self.send(wire.ping(word))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._pongs[word]
        except (TimeoutError, RunLost):
            raise NoRunner("no answer") from None
        finally:
            self._pongs.pop(word, None)

    def drop(self, run: GuestRun) -> None:
        if self._runs.pop(run.id, None) is not None:
            self.send(wire.forget(run.id))

    def send(self, data: bytes) -> None:
        if self._transport is None or self.closed:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > UNREAD_BYTES:
            self._break("The guest's runner does not read.")

    def close(self) -> None:
        self._break("The connection to the guest was closed.")

    # --- called by the transport ---
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.send(wire.hello(self._session, self._nonce))

    def data_received(self, data: bytes) -> None:
        before = self._decoder.frames
        try:
            for event in self._decoder.feed(data):
                self._handle(event)
        except wire.ProtocolError as error:
            log.warning("runner.broken", domain=str(self._session), error=str(error))
            self._break("The guest's runner broke the rules of its protocol.")
        self._pace(self._decoder.frames - before)

    def connection_lost(self, exc: Exception | None) -> None:
        self._break("The machine went away.")

    def _pace(self, frames: int) -> None:
        """Do not read for as long as it takes until so many frames are allowed again (A18)."""
        loop = asyncio.get_running_loop()
        earned = (loop.time() - self._allowed_at) * FRAMES_A_SECOND
        self._allowance = min(self._allowance + earned, FRAMES_A_SECOND) - frames
        self._allowed_at = loop.time()
        if self._allowance < 0 and self._transport is not None and not self.closed:
            self._transport.pause_reading()
            loop.call_later(-self._allowance / FRAMES_A_SECOND, self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self.closed:
            self._transport.resume_reading()

    def _handle(self, event: wire.Event) -> None:
        if isinstance(event, wire.Hello):
            self._held = set(event.runs)
            if not self._greeted.done():
                self._greeted.set_result(None)
        elif isinstance(event, wire.Pong):
            answered = self._pongs.get(event.data)
            if answered is not None and not answered.done():
                answered.set_result(None)
        elif event.run in self._runs:  # others were forgotten: their last words cross with that
            self._runs[event.run].handle(event)

    def _forget_orphans(self) -> None:
        for run_id in self._held:
            self.send(wire.forget(run_id))
        self._held.clear()

    def _break(self, why: str) -> None:
        if self.closed:
            return
        self.closed = True
        lost = RunLost(why)
        for waiting in (self._greeted, *self._pongs.values()):
            if not waiting.done():
                waiting.set_exception(lost)
                waiting.exception()
        for run in list(self._runs.values()):
            run.lose(why)
        self._runs.clear()
        if self._transport is not None:
            self._transport.abort()
