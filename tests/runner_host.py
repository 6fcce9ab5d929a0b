"""A host of the guests' runner that says what a test wants, frame for frame."""

import select
import socket
import time
from uuid import uuid4

from hypervisor import run_wire as wire
from hypervisor.run_wire import Order

DEADLINE = 20.0
SESSION = uuid4()


class Host:
    """A connection that says what a test wants, byte for byte."""

    def __init__(self, path, session=SESSION):
        self.events = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(str(path))
        self.hello = self.greet(session)

    def greet(self, session=SESSION):
        """Say hello, again if need be: what was left half sent before does not matter."""
        self.nonce = wire.new_nonce()
        self.decoder = wire.Decoder(self.nonce)
        self.say(wire.hello(session, self.nonce))
        return self.wait(wire.Hello)

    def say(self, *frames):
        for data in frames:
            self.socket.sendall(data)

    def wait(self, kind, run=None):
        """Return the first such event; what came before it is in `events_before`."""
        self.events_before = []
        while True:
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, kind) and run in {None, getattr(event, "run", None)}:
                    return event
                self.events_before.append(event)
            data = self.socket.recv(65536)
            assert data, "the runner has hung up"
            self.events += self.decoder.feed(data)

    def arrived(self, seconds):
        """What comes within some time, without the rest waiting for it."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self.socket], [], [], left)[0]:
                self.events += self.decoder.feed(self.socket.recv(65536))
        found, self.events = self.events, []
        return found

    def leave(self):
        self.socket.close()


def begin(host, *argv, stdin=b"", last=True):
    run = uuid4()
    host.say(wire.begin(run, Order(argv)))
    if stdin or last:
        host.say(wire.stdin(run, 0, stdin, last=last))
    return run
