"""The serial lines of the node's domains: held from when their sockets appear, with several viewers each.

QEMU is the server of `<folder>/<domain uuid>.serial`; it takes one client, and while there is none, what the
guest writes is lost. So the gateway is that client, always, and keeps the last 256 KiB of every line. A viewer
is a position in those: it costs nothing while it does not read, and one that is overtaken skips what it missed.
The sockets are QEMU's, not libvirtd's, so that lines outlive libvirtd. No Django in here.
"""

import asyncio
import contextlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID

import structlog

from .scrollback import Scrollback
from .writing import Writing

log = structlog.get_logger(__name__)
SUFFIX = ".serial"
SCAN_SECONDS = 0.25  # what a guest says before its socket is seen is lost, so look often
RETRY_SECONDS = 5.0  # for a socket that nobody answers on: its QEMU died
MESSAGE = 64 * 1024  # bytes handed to a viewer at once
WRITE_HIGH_WATER = 64 * 1024


class Line(Writing):
    """One domain's serial line, as long as its QEMU lives."""

    def __init__(self) -> None:
        super().__init__()
        self.scrollback = Scrollback()
        self._viewers: set[Viewer] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=WRITE_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self.scrollback.append(data)
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wake()

    def view(self) -> "Viewer":
        """Return a new viewer, which gets the scrollback first."""
        viewer = Viewer(self)
        self._viewers.add(viewer)
        return viewer

    def forget(self, viewer: "Viewer") -> None:
        self._viewers.discard(viewer)

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def _wake(self) -> None:
        for viewer in self._viewers:
            viewer.wake()


class Viewer:
    """A `console.relay.Duplex` at one line. What several viewers type is mixed, as on a shared terminal."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._position = line.scrollback.begin
        self._waiting: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        while self._position == self._line.scrollback.end:
            if self._line.ended:
                return b""
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        data, self._position = self._line.scrollback.read(self._position, MESSAGE)
        return data

    def write(self, data: bytes) -> None:
        self._line.write(data)

    async def drain(self) -> None:
        await self._line.drain()

    def close(self) -> None:
        self._line.forget(self)

    def wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)


@dataclass(frozen=True, slots=True)
class _Refused:
    """A socket that nobody answered on: which file it was, and when to try again."""

    inode: tuple[int, int]
    until: float


class SerialHub:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: dict[UUID, Line] = {}
        self._refused: dict[UUID, _Refused] = {}
        self._scanning = asyncio.Lock()

    async def run(self) -> None:
        """Hold every line that there is, until cancelled."""
        try:
            while True:
                try:
                    await self.scan()
                except OSError:  # the folder cannot be read just now
                    log.exception("serial.scan_failed")
                await asyncio.sleep(SCAN_SECONDS)
        finally:
            self.close()

    async def scan(self) -> None:
        """Connect to sockets that have appeared; forget lines that have ended."""
        async with self._scanning:
            self._lines = {uuid: line for uuid, line in self._lines.items() if not line.ended}
            found = self._sockets()
            self._refused = {uuid: refused for uuid, refused in self._refused.items() if uuid in found}
            for uuid, inode in found.items():
                if uuid not in self._lines and self._may_try(uuid, inode):
                    await self._connect(uuid, inode)

    async def view(self, uuid: UUID) -> Viewer | None:
        """Return a viewer of this domain's line, or None when it has none."""
        line = self._lines.get(uuid)
        if line is None or line.ended:
            self._refused.pop(uuid, None)
            await self.scan()
            line = self._lines.get(uuid)
        return line.view() if line else None

    def close(self) -> None:
        for line in self._lines.values():
            line.close()
        self._lines.clear()

    def _sockets(self) -> dict[UUID, tuple[int, int]]:
        """Return the sockets in the folder with what tells a new one from an old one of the same name."""
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                uuid = _uuid_of(path)
                if uuid is None:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    facts = path.lstat()
                    if stat.S_ISSOCK(facts.st_mode):
                        found[uuid] = (facts.st_ino, facts.st_ctime_ns)
        return found

    def _may_try(self, uuid: UUID, inode: tuple[int, int]) -> bool:
        refused = self._refused.get(uuid)
        return refused is None or refused.inode != inode or refused.until <= asyncio.get_running_loop().time()

    async def _connect(self, uuid: UUID, inode: tuple[int, int]) -> None:
        loop = asyncio.get_running_loop()
        line = Line()
        try:
            async with asyncio.timeout(1):
                await loop.create_unix_connection(lambda: line, str(self._folder / f"{uuid}{SUFFIX}"))
        except OSError as error:
            if uuid not in self._refused:
                log.info("serial.refused", domain=str(uuid), error=str(error))
            self._refused[uuid] = _Refused(inode, loop.time() + RETRY_SECONDS)
            return
        self._refused.pop(uuid, None)
        self._lines[uuid] = line
        log.info("serial.held", domain=str(uuid))


def _uuid_of(path: Path) -> UUID | None:
    if path.suffix != SUFFIX:
        return None
    try:
        uuid = UUID(path.stem)
    except ValueError:
        return None
    return uuid if str(uuid) == path.stem else None
