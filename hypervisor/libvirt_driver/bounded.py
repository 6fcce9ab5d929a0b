"""Calls that may never return: a QEMU that hangs holds up whoever asks it something, without any time limit."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

T = TypeVar("T")


class TooSlow(Exception):
    """The call did not return in time, or earlier ones still have not. It goes on in its thread until it can end."""


class Bounded:
    """Runs calls in threads of their own and waits for each a limited time."""

    def __init__(self, name: str, most_at_once: int) -> None:
        self._name = name
        self._room = threading.BoundedSemaphore(most_at_once)

    def call(self, work: Callable[[], T], timeout_seconds: float) -> T:
        """What the work returns or raises; TooSlow when it takes longer or too many calls still hang."""
        if not self._room.acquire(blocking=False):
            raise TooSlow("an earlier call still hangs")
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(work())
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                answer.set_exception(error)
            finally:
                self._room.release()

        threading.Thread(target=run, name=self._name, daemon=True).start()
        try:
            return answer.result(timeout_seconds)
        except FutureTimeoutError as error:
            raise TooSlow(f"no answer within {timeout_seconds} s") from error
