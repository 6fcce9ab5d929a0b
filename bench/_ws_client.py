"""A websocket client that costs next to nothing, so that the relay under test is what is measured.

It speaks just enough of RFC 6455: one handshake, masked binary frames out; received bytes are counted as they come
(the 2 to 10 bytes of a frame's header are noise beside 64 KiB and more of payload).
"""

import base64
import os
import selectors
import socket
import struct
import time

BUFFER = 1024 * 1024


def connect(port: int, path: str) -> socket.socket:
    """Return a connected socket after the handshake; ConnectionError when it is refused."""
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    client.sendall(
        f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        byte = client.recv(1)  # not a byte more: what follows is the stream
        if not byte:
            break
        answer += byte
    if b" 101 " not in answer.split(b"\r\n")[0]:
        client.close()
        raise ConnectionError(answer.decode(errors="replace"))
    return client


def frame(payload: bytes) -> bytes:
    """Return a masked binary frame (the mask is fixed: it is the server's unmasking that counts)."""
    mask, size = b"\x5a\xa5\x3c\xc3", len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x82, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x82, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x82, 0x80 | 127, size)
    repeated = mask * (size // 4 + 1)
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated[:size], "big")).to_bytes(size, "big")
    return head + mask + masked


def receive(clients: list[socket.socket], seconds: float) -> int:
    """Read from all of them for so long; return the bytes received."""
    buffer, total = bytearray(BUFFER), 0
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for key, _events in selector.select(0.2):
                total += key.fileobj.recv_into(buffer)  # type: ignore[union-attr]
    return total


def round_trips(client: socket.socket, count: int, size: int = 64) -> list[float]:
    """Send a message and wait for its echo, `count` times; return the seconds that each took."""
    message, expected, taken = frame(os.urandom(size)), size + 2, []
    for _ in range(count):
        started = time.perf_counter()
        client.sendall(message)
        missing = expected
        while missing:
            missing -= len(client.recv(missing))
        taken.append(time.perf_counter() - started)
    return taken
