"""What the yardsticks of bench/sandbox.py say to a guest, over the sockets of its channels."""

import contextlib
import secrets
import socket
import time
import uuid
from collections.abc import Iterator

from hypervisor import run_wire

PATIENCE_SECONDS = 60
POLL_SECONDS = 0.002


@contextlib.contextmanager
def connected(path: str, wait: bool = False) -> Iterator[socket.socket]:
    """Connect to a UNIX socket; `wait`: until there is one."""
    until = time.monotonic() + PATIENCE_SECONDS
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(PATIENCE_SECONDS)
        while True:
            try:
                channel.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if not wait or time.monotonic() > until:
                    raise
                time.sleep(POLL_SECONDS)
        yield channel


def first_word(path: str) -> None:
    """Wait for the guest's first reply on the identity channel."""
    word = secrets.token_hex(8)
    with connected(path) as channel:
        channel.sendall(f"ack={word}\n".encode())
        answer = b""
        while f"ack {word}\n".encode() not in answer:
            part = channel.recv(4096)
            assert part, f"the listener said {answer!r} and hung up"
            answer += part


def first_output(path: str, command: str) -> bytes:
    """Run a command through the guest's runner and return the first piece of its output."""
    run, nonce = uuid.uuid4(), run_wire.new_nonce()
    decoder = run_wire.Decoder(nonce)
    with connected(path) as channel:
        channel.sendall(run_wire.hello(uuid.uuid4(), nonce))
        begun = False
        while True:
            part = channel.recv(65536)
            assert part, "the runner hung up"
            for event in decoder.feed(part):
                if isinstance(event, run_wire.Hello) and not begun:
                    channel.sendall(run_wire.begin(run, run_wire.Order(argv=["/bin/sh", "-c", command])))
                    begun = True
                elif isinstance(event, run_wire.Output) and event.data:
                    return event.data
