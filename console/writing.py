"""The half of a connection that is written to, which streams of machines and serial lines share. No Django in here."""

import asyncio
from typing import cast


class Writing(asyncio.Protocol):
    """Writes at once and keeps what the other side does not take; `drain` is how a writer waits for it."""

    def __init__(self) -> None:
        self.ended = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None

    # --- called by the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- called by us ---

    def write(self, data: bytes) -> None:
        if self._transport and not self.ended:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the other side has taken most of what was written."""
        await self._writable.wait()

    def close(self) -> None:
        """Drop the connection at once, with what was not written yet."""
        if self._transport:
            self._transport.abort()
