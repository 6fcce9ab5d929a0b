"""Who hears of what happens to machines: a listener at Redis, and a page's status socket."""

import json
import threading
import time
from collections import Counter
from typing import Any, Self

import msgpack
import redis
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.faults.installation import Installation

PING_SECONDS = 0.1
GROUP = "__group__project."


class Hints:
    """Counts the hints of machines that reach Redis for people's pages; staff get each of them once more."""

    def __init__(self, portal: Installation) -> None:
        self.of_machine: Counter[str] = Counter()
        self._client = redis.Redis(unix_socket_path=str(portal.socket))
        self._ear = self._client.pubsub(ignore_subscribe_messages=True)
        self._ear.psubscribe(**{f"*{GROUP}*": self._note})
        self._thread = self._ear.run_in_thread(sleep_time=0.1, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.stop()
        self._thread.join(10)
        self._client.close()

    def _note(self, published: dict[str, Any]) -> None:
        hint = msgpack.unpackb(published["data"])
        if hint["kind"] == "vm":
            self.of_machine[hint["id"]] += 1


class StatusPage:
    """A list of machines in a browser: what its socket is sent is counted, a ping's answer is timed."""

    def __init__(self, portal: Installation, shown: dict[str, int]) -> None:
        self.heard: Counter[str] = Counter()
        self.fragments: Counter[str] = Counter()
        self.pings: list[float] = []
        self._ended = threading.Event()
        origin = f"http://127.0.0.1:{portal.port}"
        address = f"{origin.replace('http', 'ws', 1)}/ws/status"
        cookies = {"Cookie": portal("session")}
        self._shown = shown
        self._opening = connect(address, origin=origin, additional_headers=cookies, max_size=None, ping_interval=None)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._ping)]

    def __enter__(self) -> Self:
        self._socket = self._opening.__enter__()
        self._socket.send(json.dumps({"kind": "row", "shown": self._shown}))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._opening.__exit__(None, None, None)
        for thread in self._threads:
            thread.join(20)

    def _read(self) -> None:
        try:
            for message in self._socket:
                content = json.loads(message)
                self.heard[content["type"]] += 1
                if content["type"] == "fragment":
                    self.fragments[content["target"]] += 1
        except ConnectionClosed:
            return

    def _ping(self) -> None:
        while not self._ended.wait(PING_SECONDS):
            try:
                began = time.monotonic()
                if self._socket.ping().wait(60):
                    self.pings.append(time.monotonic() - began)
            except ConnectionClosed:
                return
