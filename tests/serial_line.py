"""The far end of a serial socket, for tests that have no QEMU."""

import asyncio
import socket
from pathlib import Path
from uuid import UUID, uuid4

DEADLINE = 20


class FakeQemu:
    """The server of a serial socket, as QEMU is one: a single client at a time."""

    def __init__(self, folder: Path, uuid: UUID | None = None) -> None:
        self.uuid = uuid or uuid4()
        self.path = folder / f"{self.uuid}.serial"
        self._listener = self._client = None
        self.start()

    def start(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(1)
        self._listener.setblocking(False)

    async def accept(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DEADLINE):
            self._client, _address = await loop.sock_accept(self._listener)
        self._client.setblocking(False)

    async def say(self, data: bytes) -> None:
        async with asyncio.timeout(DEADLINE):
            await asyncio.get_running_loop().sock_sendall(self._client, data)

    async def hear(self, size: int) -> bytes:
        heard = b""
        async with asyncio.timeout(DEADLINE):
            while len(heard) < size:
                heard += await asyncio.get_running_loop().sock_recv(self._client, size - len(heard))
        return heard

    def die(self, *, leave_file: bool = False) -> None:
        for end in (self._listener, self._client):
            if end is not None:
                end.close()
        if not leave_file:
            self.path.unlink(missing_ok=True)
