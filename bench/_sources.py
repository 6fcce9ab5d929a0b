"""The far side of the benchmarked relays: a process with four UNIX sockets in one folder.

`flood` sends without end, `sink` counts (and answers one byte after every `SINK_EVERY` bytes), `echo` sends back.
"""

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

CHUNK = 256 * 1024
SINK_EVERY = 16 * 1024 * 1024


def flood(peer: socket.socket) -> None:
    data = bytes(range(256)) * (CHUNK // 256)
    while True:
        peer.sendall(data)


def sink(peer: socket.socket) -> None:
    buffer, seen = bytearray(CHUNK), 0
    while count := peer.recv_into(buffer):
        seen += count
        while seen >= SINK_EVERY:
            seen -= SINK_EVERY
            peer.sendall(b"!")


def echo(peer: socket.socket) -> None:
    while data := peer.recv(CHUNK):
        peer.sendall(data)


def serve(path: Path, handle: Callable[[socket.socket], None]) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(128)

    def one(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            handle(peer)

    def accept() -> None:
        while True:
            peer, _address = listener.accept()
            threading.Thread(target=one, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def main() -> None:
    folder = Path(sys.argv[1])
    for handle in (flood, sink, echo):
        serve(folder / handle.__name__, handle)
    print("ready", flush=True)
    sys.stdin.read()  # until the benchmark ends


if __name__ == "__main__":
    main()
