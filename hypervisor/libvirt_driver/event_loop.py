"""libvirt's own event loop, in one thread of the process: keepalive and events need it.

It is libvirt's default implementation and not libvirtaio: that one lives in an asyncio loop, and a loop that is busy
for 25 s would then lose its connections.
"""

import os
import threading

import libvirt

_lock = threading.Lock()
_pid = 0


def ensure_event_loop() -> None:
    """Starts the thread once in each process; call it before the first connection is opened."""
    global _pid  # noqa: PLW0603 - libvirt's event implementation is one per process as well
    with _lock:
        if _pid == os.getpid():
            return
        if _pid == 0:
            # Without a handler libvirt prints every error to stderr.
            libvirt.registerErrorHandler(_ignore, None)
            libvirt.virEventRegisterDefaultImpl()
        _pid = os.getpid()
        threading.Thread(target=_run, name="libvirt-events", daemon=True).start()


def _run() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _ignore(_context: object, _error: object) -> None:
    return
