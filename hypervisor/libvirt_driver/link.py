"""The way to libvirt: connections opened when needed, used by one call at a time, never waited for without an end.

Each call has a connection to itself. libvirt allows threads to share one, but in its client (9.0) a call can then sit
unsent while another waits for its answer, until the next keepalive: measured as pauses of 5 s beside a call that takes
long.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import libvirt

from hypervisor.errors import Unavailable

from .connection import Connection
from .event_loop import ensure_event_loop
from .translate import translate

OPEN_TIMEOUT_SECONDS = 10
MOST_OPENING_AT_ONCE = 4

P = ParamSpec("P")
T = TypeVar("T")


class Link:
    """The connections of a process to one URI. After a fork the child opens its own."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._idle: list[Connection] = []
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._local = threading.local()
        self._room = threading.BoundedSemaphore(MOST_OPENING_AT_ONCE)

    @contextlib.contextmanager
    def use(self) -> Iterator[Connection]:
        """A connection for the calls of this block alone; a block within it has the same one."""
        self._notice_fork()
        current: Connection | None = getattr(self._local, "connection", None)
        if current is not None:
            yield current
            return
        connection = self._take()
        self._local.connection = connection
        try:
            yield connection
        except Unavailable:
            # Whoever said so may know before this connection does that libvirtd died.
            connection.distrust()
            raise
        finally:
            self._local.connection = None
            self._give_back(connection)

    def open(self) -> Connection:
        """A new connection, which the caller closes; Unavailable when libvirtd refuses or does not answer in 10 s."""
        self._notice_fork()
        ensure_event_loop()
        room = self._room
        # Attempts on a libvirtd that hangs do not end: only so many may be under way.
        if not room.acquire(timeout=OPEN_TIMEOUT_SECONDS):
            raise Unavailable(f"{self.uri} does not answer")
        opening: Future[Connection] = Future()

        def attempt() -> None:
            try:
                opening.set_result(Connection(self.uri))
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                opening.set_exception(error)
            finally:
                room.release()

        threading.Thread(target=attempt, name="libvirt-open", daemon=True).start()
        try:
            return opening.result(OPEN_TIMEOUT_SECONDS)
        except FutureTimeoutError as error:
            opening.add_done_callback(self._keep_late)
            raise Unavailable(f"{self.uri} did not answer within {OPEN_TIMEOUT_SECONDS} s") from error
        except libvirt.libvirtError as error:
            raise Unavailable(str(error)) from error

    def close(self) -> None:
        """Closes the connections that nobody uses; the next call opens another."""
        self._notice_fork()
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> Connection:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if connection.alive():
                    return connection
                connection.close(0)
        return self.open()

    def _give_back(self, connection: Connection) -> None:
        if not connection.alive():
            connection.close(0)
            return
        with self._lock:
            self._idle.append(connection)

    def _keep_late(self, opening: "Future[Connection]") -> None:
        if opening.exception() is None:
            self._give_back(opening.result())

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            self._reset()


class Linked:
    """What the verbs of each noun share. `_conn` is the connection of the verb under way."""

    def __init__(self, uri: str) -> None:
        self._link = Link(uri)

    @property
    def _conn(self) -> Any:
        with self._link.use() as connection:
            return connection.libvirt

    @property
    def _is_mock(self) -> bool:
        return self._link.uri.startswith("test")

    def close(self) -> None:
        """Closes the connections."""
        self._link.close()


L = TypeVar("L", bound=Linked)


def verb(method: Callable[Concatenate[L, P], T]) -> Callable[Concatenate[L, P], T]:
    """Gives a method one connection for all that it does, and `hypervisor.errors` where libvirt raises its own."""

    @wraps(method)
    def wrapped(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._link.use() as connection:
            try:
                return method(self, *args, **kwargs)
            except libvirt.libvirtError as error:
                if not connection.alive():
                    raise Unavailable(str(error)) from error
                raise translate(error) from error

    return wrapped
