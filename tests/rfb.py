"""A small VNC viewer over the gateway's websocket, for tests: it looks at a display and presses keys (RFC 6143)."""

import struct
from typing import Any

from websockets.sync.client import ClientConnection, connect

RETURN = 0xFF0D
RAW = 0


def open_console(ticket: dict[str, Any], **options: Any) -> ClientConnection:
    """Connect as a program does: with the ticket's protocols and no Origin."""
    return connect(ticket["url"], subprotocols=ticket["protocols"], compression=None, max_size=None, **options)


class Viewer:
    """`Viewer(socket)` shakes hands; then `look()` returns the pixels, `type("ls")` presses keys."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._buffer = b""
        assert self._read(12) == b"RFB 003.008\n"
        self._socket.send(b"RFB 003.008\n")
        kinds = self._read(self._read(1)[0])
        assert 1 in kinds, "no password: the ticket was the permission"
        self._socket.send(b"\x01")
        assert self._read(4) == bytes(4)
        self._socket.send(b"\x01")  # shared
        self.width, self.height = struct.unpack("!HH", self._read(4))
        self._read(16)
        self.name = self._read(struct.unpack("!I", self._read(4))[0])
        self._socket.send(struct.pack("!BxHi", 2, 1, RAW))

    def look(self) -> bytes:
        """Return the whole display, 4 bytes a pixel."""
        picture = bytearray(self.width * self.height * 4)
        self._socket.send(struct.pack("!BBHHHH", 3, 0, 0, 0, self.width, self.height))
        missing = len(picture)
        while missing > 0:
            kind = self._read(1)[0]
            if kind == 2:  # a bell
                continue
            assert kind == 0, f"unexpected message {kind}"
            for _ in range(struct.unpack("!xH", self._read(3))[0]):
                missing -= self._rectangle(picture)
        return bytes(picture)

    def _rectangle(self, picture: bytearray) -> int:
        x, y, width, height, encoding = struct.unpack("!HHHHi", self._read(12))
        assert encoding == RAW
        pixels = self._read(width * height * 4)
        for row in range(height):
            start = ((y + row) * self.width + x) * 4
            picture[start : start + width * 4] = pixels[row * width * 4 : (row + 1) * width * 4]
        return len(pixels)

    def press(self, key: int) -> None:
        for down in (1, 0):
            self._socket.send(struct.pack("!BBxxI", 4, down, key))

    def type(self, text: str) -> None:
        for letter in text:
            self.press(RETURN if letter == "\n" else ord(letter))

    def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            part = self._socket.recv(timeout=30)
            assert isinstance(part, bytes)
            self._buffer += part
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data
