"""What a run has said, kept in two files, and told to those who follow it while it grows. No Django in here.

`<folder>/<run id>.stdout` and `.stderr` hold the first CAP_BYTES of each stream; what comes after is counted.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

CAP_BYTES = 4 * 1024 * 1024
STREAMS = ("stdout", "stderr")
READ_BYTES = 64 * 1024
RESERVE_BYTES = 2**30  # of the disk that the machines' disks are on: or a twentieth of it, if that is less


class Spool:
    """The files of one run. `totals` counts all that the guest sent, `kept` what is in the files."""

    def __init__(self, folder: Path, run_id: UUID, cap_bytes: int = CAP_BYTES) -> None:
        self.run_id = run_id
        self.ended = False
        self._paths = [folder / f"{run_id}.{name}" for name in STREAMS]
        self._cap = cap_bytes
        self.kept = [self._size(path) for path in self._paths]
        self.totals = list(self.kept)
        self._followers: set[asyncio.Event] = set()

    @staticmethod
    def _size(path: Path) -> int:
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_size
        return 0

    @property
    def truncated(self) -> tuple[bool, bool]:
        return self.totals[0] > self.kept[0], self.totals[1] > self.kept[1]

    def full(self, stream: int) -> bool:
        """Is nothing more of it kept?"""
        return self.kept[stream] >= self._cap or self.totals[stream] > self.kept[stream]

    def _has_room(self) -> bool:
        """Is there more free on the disk than is left to the machines on it?"""
        disk = os.statvfs(self._paths[0].parent)
        return disk.f_bavail * disk.f_frsize > min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 20)

    def append(self, stream: int, data: bytes) -> None:
        """Keep what fits; blocks. OSError when the disk is full: what could not be written is counted as cut off."""
        self.totals[stream] += len(data)
        room = self._cap - self.kept[stream]
        if self.totals[stream] - len(data) > self.kept[stream]:
            room = 0  # something before it is missing already
        if room > 0 and not self._has_room():
            raise OSError(errno.ENOSPC, "what is left belongs to the machines")
        if room > 0:
            self._write(stream, data[:room])

    def _write(self, stream: int, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._paths[stream], flags, 0o600)
        try:
            while data:
                count = os.write(file, data)
                self.kept[stream] += count
                data = data[count:]
        finally:
            os.close(file)

    def read(self, stream: int, offset: int, limit: int = READ_BYTES) -> bytes:
        """Return what is kept from an offset on, `limit` bytes at most; blocks."""
        try:
            file = os.open(self._paths[stream], os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(file, min(limit, READ_BYTES), offset)
        finally:
            os.close(file)

    def tell(self) -> None:
        """Wake those who follow."""
        for follower in self._followers:
            follower.set()

    @contextlib.contextmanager
    def following(self) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever there is more, or the end."""
        event = asyncio.Event()
        self._followers.add(event)
        try:
            yield event
        finally:
            self._followers.discard(event)

    def remove(self) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)


def spooled(folder: Path) -> set[UUID]:
    """Return the runs that have files in the folder."""
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(ValueError):
                if path.suffix[1:] in STREAMS:
                    found.add(UUID(path.stem))
    return found
