"""The connection to libvirt: opened at the first use, opened again when it broke, never waited for without an end."""

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import libvirt

from hypervisor.errors import Unavailable

from .event_loop import ensure_event_loop
from .tags import TagCache
from .translate import translate

OPEN_TIMEOUT_SECONDS = 10
CLOSE_TIMEOUT_SECONDS = 1
# A libvirtd that hangs is given up after 5 probes, 5 s apart: every call under way then fails.
KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 5

P = ParamSpec("P")
T = TypeVar("T")


class Connection:
    """An open libvirt connection and what is remembered with it for as long as it lives."""

    def __init__(self, uri: str) -> None:
        self.libvirt = libvirt.open(uri)
        self.capabilities: str | None = None
        self._lock = threading.Lock()
        self._tags: TagCache | None = None
        with contextlib.suppress(libvirt.libvirtError):  # the mock driver in our process has no socket
            self.libvirt.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)

    @property
    def tags(self) -> TagCache:
        """The owner tags. It listens to events from its first use on: one callback for each kind and connection."""
        with self._lock:
            if self._tags is None:
                self._tags = TagCache(self.libvirt)
            return self._tags

    def alive(self) -> bool:
        """Whether the connection can still be used, as far as this side knows. Costs no round trip."""
        try:
            return bool(self.libvirt.isAlive())
        except libvirt.libvirtError:
            return False

    def close(self) -> None:
        """Closes it; one that is broken already is closed too."""
        with contextlib.suppress(libvirt.libvirtError):
            self.libvirt.close()


class Link:
    """One connection for all threads of a process. After a fork the child opens its own."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._reset()
        self._left_behind: list[object] = []

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._connection: Future[Connection] | None = None

    def connection(self) -> Connection:
        """The open connection; Unavailable when none can be opened within 10 s."""
        if self._pid != os.getpid():
            # Freeing the parent's connection here would say goodbye on the parent's socket: keep it, unused.
            self._left_behind.append(self._connection)
            self._reset()
        pending = self._pending()
        try:
            return pending.result(OPEN_TIMEOUT_SECONDS)
        except FutureTimeoutError as error:
            raise Unavailable(f"{self.uri} did not answer within {OPEN_TIMEOUT_SECONDS} s") from error
        except libvirt.libvirtError as error:
            raise Unavailable(str(error)) from error

    def _pending(self) -> Future[Connection]:
        """The connection, or the one attempt under way that everybody waits for: opening one may hang."""
        with self._lock:
            current = self._connection
            if current is not None and (not current.done() or (not current.exception() and current.result().alive())):
                return current
            opening: Future[Connection] = Future()
            self._connection = opening
            ensure_event_loop()
            threading.Thread(target=_open, args=(self.uri, opening), name="libvirt-open", daemon=True).start()
            return opening

    def close(self) -> None:
        """Closes the connection if one is open; the next call opens another."""
        with self._lock:
            current, self._connection = self._connection, None
        if current is None or not current.done() or current.exception():
            return
        # Closing waits for libvirtd's answer, which may never come.
        closing = threading.Thread(target=current.result().close, name="libvirt-close", daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT_SECONDS)

    def is_alive(self) -> bool:
        """Whether the connection that the last call used still stands."""
        current = self._connection
        return current is not None and current.done() and not current.exception() and current.result().alive()


def _open(uri: str, opening: "Future[Connection]") -> None:
    try:
        opening.set_result(Connection(uri))
    except Exception as error:  # noqa: BLE001 - whoever waits gets it
        opening.set_exception(error)


class Linked:
    """What the verbs of each noun share."""

    def __init__(self, uri: str) -> None:
        self._link = Link(uri)

    @property
    def _conn(self) -> Any:
        return self._link.connection().libvirt

    @property
    def _is_mock(self) -> bool:
        return self._link.uri.startswith("test")

    def close(self) -> None:
        """Closes the connection."""
        self._link.close()


L = TypeVar("L", bound=Linked)


def verb(method: Callable[Concatenate[L, P], T]) -> Callable[Concatenate[L, P], T]:
    """Makes a method raise `hypervisor.errors` where libvirt raises its own."""

    @wraps(method)
    def wrapped(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except libvirt.libvirtError as error:
            if not self._link.is_alive():
                raise Unavailable(str(error)) from error
            raise translate(error) from error

    return wrapped
