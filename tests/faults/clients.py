"""People at consoles, as programs: they come back by themselves, each time with a new ticket."""

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

logging.getLogger("httpx").setLevel(logging.WARNING)
PAUSE_SECONDS = 0.25
TROUBLE = (OSError, TimeoutError, WebSocketException, httpx.HTTPError)


class SerialPorts:
    """Stands for the QEMUs of a fake host: answers on each machine's serial socket with what it is sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listeners: list[socket.socket] = []

    def open(self, domain_uuid: str) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.folder / f"{domain_uuid}.serial"))
        listener.listen(8)
        self._listeners.append(listener)
        threading.Thread(target=self._answer, args=(listener,), daemon=True).start()

    @staticmethod
    def _answer(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                client, _address = listener.accept()
                threading.Thread(target=_echo, args=(client,), daemon=True).start()

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _echo(client: socket.socket) -> None:
    with client, contextlib.suppress(OSError):
        while data := client.recv(65536):
            client.sendall(data)


@dataclass
class Person:
    """Somebody at the serial console of one machine; `opened` counts connections, `echoed` their answers."""

    http: httpx.AsyncClient
    vm: str
    token: str
    word: bytes
    kind: str = "serial"
    opened: int = 0
    connection: ClientConnection | None = None
    refusals: list[str] = field(default_factory=list)

    async def stay(self) -> None:
        """Be there until cancelled."""
        while True:
            with contextlib.suppress(*TROUBLE):
                await self._once()
            self.connection = None
            await asyncio.sleep(PAUSE_SECONDS)

    async def _once(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = await self.http.post(f"vms/{self.vm}/console", json={"kind": self.kind}, headers=headers)
        if answer.status_code != 201:
            self.refusals.append(f"{answer.status_code} {answer.text[:200]}")
            return
        ticket = answer.json()
        async with connect(
            ticket["url"], subprotocols=ticket["protocols"], compression=None, open_timeout=10, max_size=None
        ) as connection:
            await connection.send(self.word)
            heard = b""
            async for message in connection:
                heard = (heard + message)[-100_000:]  # type: ignore[operator]
                if self.connection is None and self.word in heard:
                    self.opened += 1
                    self.connection = connection

    @property
    def there(self) -> bool:
        return self.connection is not None


class Crowd:
    """Many people, in a thread with a loop of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.people: list[Person] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: list[asyncio.Task[None]] = []
        self._http: httpx.AsyncClient | None = None

    def __enter__(self) -> "Crowd":
        self._thread.start()
        self._http = httpx.AsyncClient(base_url=f"{self.url}/api/v1/", timeout=15)
        return self

    def __exit__(self, *_error: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert self._http
        await self._http.aclose()

    def add(self, vm: str, token: str, kind: str = "serial") -> Person:
        assert self._http
        person = Person(self._http, vm, token, b"<word %d>" % len(self.people), kind)
        self.people.append(person)
        self._do(self._begin(person))
        return person

    async def _begin(self, person: Person) -> None:
        self._tasks.append(asyncio.ensure_future(person.stay()))

    @property
    def all_there(self) -> bool:
        return all(person.there for person in self.people)

    @property
    def opened(self) -> int:
        return sum(person.opened for person in self.people)

    def leave(self) -> None:
        """All go home."""
        for task in self._tasks:
            self._loop.call_soon_threadsafe(task.cancel)
        self.people, self._tasks = [], []


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return sum(1 for _each in Path(f"/proc/{pid}/fd").iterdir())


@contextlib.contextmanager
def timed() -> Iterator[list[float]]:
    """Yield a list that holds the seconds of the block after it."""
    found: list[float] = []
    began = time.monotonic()
    yield found
    found.append(time.monotonic() - began)
