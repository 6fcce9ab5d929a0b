"""A stand-in for libvirtd's socket that can go silent, hang up and come back, as a libvirtd that hangs or dies."""

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

LIBVIRTD = "/run/libvirt/libvirt-sock"


class Proxy:
    """Passes bytes on between clients and libvirtd while it is `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = f"qemu+unix:///system?socket={path}"
        self.clients = 0  # how many ever connected
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._passing = threading.Event()
        self._passing.set()
        self._listener: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """Accepts clients from now on."""
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(16)
        self._start(self._accept, self._listener)

    def silence(self) -> None:
        """Keeps all connections and passes nothing on; new ones are accepted and get no answer."""
        self._passing.clear()

    def speak(self) -> None:
        """Passes on again, also what came meanwhile."""
        self._passing.set()

    def hang_up(self) -> None:
        """Ends all connections and refuses new ones, as a libvirtd that died."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.path.unlink(missing_ok=True)
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()
        self._passing.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(LIBVIRTD)
            self.clients += 1
            self._pairs.append((client, server))
            self._start(self._pump, client, server)
            self._start(self._pump, server, client)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._passing.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
        source.close()

    @staticmethod
    def _start(work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()
