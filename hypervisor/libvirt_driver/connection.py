"""One connection to libvirt."""

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any

import libvirt

# A libvirtd that hangs is given up after 5 probes, 5 s apart: the call under way then fails.
KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 5
CLOSE_TIMEOUT_SECONDS = 1

# Connections of the parent process. Freeing one here would say goodbye on the parent's socket.
_inherited: list[object] = []


class Connection:
    """An open libvirt connection, and what is remembered for as long as it lives."""

    def __init__(self, uri: str) -> None:
        self.libvirt = libvirt.open(uri)
        self.capabilities: str | None = None
        self._pid = os.getpid()
        self._distrusted = False
        self._callbacks: list[int] = []
        with contextlib.suppress(libvirt.libvirtError):  # the mock driver in our process has no socket
            self.libvirt.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)

    def alive(self) -> bool:
        """Whether this process can still use it, as far as this side knows. Costs no round trip."""
        if self._distrusted or self._pid != os.getpid():
            return False
        try:
            return bool(self.libvirt.isAlive())
        except libvirt.libvirtError:
            return False

    def distrust(self) -> None:
        """Counts as dead from now on: libvirt's event loop may not have heard yet that the other end is gone."""
        self._distrusted = True

    def on_event(self, event: int, callback: Callable[..., None], opaque: object = None) -> None:
        """Calls back, in libvirt's thread, at each event of this kind (VIR_DOMAIN_EVENT_ID_*) of any domain."""
        self._callbacks.append(self.libvirt.domainEventRegisterAny(None, event, callback, opaque))

    def close(self, wait_seconds: float = CLOSE_TIMEOUT_SECONDS) -> None:
        """Closes it without waiting longer: libvirtd's answer to that may never come."""
        if self._pid != os.getpid():
            _inherited.append(self.libvirt)
            return
        closing = threading.Thread(target=_close, args=(self.libvirt, self._callbacks), daemon=True)
        closing.start()
        closing.join(wait_seconds)


def _close(conn: Any, callbacks: list[int]) -> None:
    with contextlib.suppress(libvirt.libvirtError):  # it was broken already
        for callback in callbacks:
            conn.domainEventDeregisterAny(callback)
    with contextlib.suppress(libvirt.libvirtError):
        conn.unregisterCloseCallback()
    with contextlib.suppress(libvirt.libvirtError):
        conn.close()
