"""A proxy before PostgreSQL that loses the answer to a COMMIT: whoever asked cannot know whether it happened.

It speaks of PostgreSQL's protocol no more than is needed to find statements in what a client sends: after the start,
a message is a letter, its length, and its body; "Q" is a simple query, "P" one of the extended protocol, which is
carried out at its "S". No TLS: these are UNIX sockets.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

ANSWER_SECONDS = 20.0


class CommitCutter:
    """Listens in a folder of its own; `url` is the database's through it. Armed, it cuts once.

    What is cut is the first COMMIT of a transaction in which a statement with `marker` in it was sent. `then` happens
    `when` it was "answered", as soon as it was "sent", or "before", so that the server never gets it. `cuts` counts.
    """

    def __init__(self, folder: Path, server: Path) -> None:
        self.server, self.cuts = server / ".s.PGSQL.5432", 0
        self.url = f"postgres://slipway@/slipway?host={folder}"
        self._marker, self._when = b"", "answered"
        self._then: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        folder.mkdir()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, marker: bytes, then: Callable[[], object] = lambda: None, when: str = "answered") -> None:
        self._then, self._when, self._marker = then, when, marker

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed at the end
            while True:
                client, _address = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with client, server, suppress(OSError):  # either may go at any time
            server.connect(str(self.server))
            connection = Connection(client, server)
            threading.Thread(target=connection.pass_answers, daemon=True).start()
            self._pass_questions(connection)

    def _pass_questions(self, connection: "Connection") -> None:
        marked = commits = False
        for kind, message in connection.questions():
            statement = message[5:] if kind in b"QP" else b""
            marked |= bool(self._marker) and self._marker in statement
            commits |= marked and _is_commit(kind, statement)
            if commits and kind in b"QS" and self._take():
                self._cut(connection, message)
                return
            connection.server.sendall(message)

    def _take(self) -> bool:
        with self._lock:
            armed, self._marker = bool(self._marker), b""
            return armed

    def _cut(self, connection: "Connection", message: bytes) -> None:
        connection.mute.set()
        if self._when != "before":
            connection.server.sendall(message)
        if self._when == "answered":
            assert connection.answered.wait(ANSWER_SECONDS)
        self.cuts += 1
        self._then()
        connection.end()


class Connection:
    """One client and its server; muted, answers are read and not passed on."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.mute, self.answered = threading.Event(), threading.Event()

    def pass_answers(self) -> None:
        with suppress(OSError):
            while data := self.server.recv(65536):
                if self.mute.is_set():
                    self.answered.set()
                else:
                    self.client.sendall(data)
        self.end()

    def questions(self) -> Iterator[tuple[bytes, bytes]]:
        """Each message of the client as (its letter, all of it); the first one has no letter."""
        with self.client.makefile("rb") as reader:
            head = 0
            while len(start := reader.read(head + 4)) == head + 4:
                [length] = struct.unpack("!I", start[head:])
                yield start[:head] or b"-", start + reader.read(length - 4)
                head = 1

    def end(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _is_commit(kind: bytes, statement: bytes) -> bool:
    """Is this COMMIT? A parsed statement has a name before it, and types behind it."""
    words = statement.split(b"\0")[1 if kind == b"P" else 0] if statement else b""
    return words.strip(b" ;").upper() == b"COMMIT"
