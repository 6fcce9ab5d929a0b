"""The portal's REST API: calls, lists, and its refusals as sentences."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx

from .faults import Code, Fault
from .login import Login, current
from .problems import fault_of, unreachable

Json = dict[str, Any]
TIMEOUT = httpx.Timeout(30, connect=10)
STREAM = httpx.Timeout(90, connect=10)  # how long a stream may be silent; events have a comment every 15 s
UPLOAD = httpx.Timeout(90, connect=10, read=900)  # an answer comes once the guest has it all, and has unpacked it
PAGE = 100
ATTEMPTS = 3  # of calls that may be repeated; the pauses between them are seconds
PAUSES = (0.3, 1.0)


def make_transport() -> httpx.BaseTransport:
    """Return what carries requests. Tests put a fake in its place."""
    return httpx.HTTPTransport()


class Api:
    """A portal as one user. Every method raises Fault where the portal does not do what was asked."""

    def __init__(self, login: Login, timeout: httpx.Timeout = TIMEOUT) -> None:
        self.login = login
        self.http = httpx.Client(
            base_url=f"{login.url}/api/v1/",
            headers={"Authorization": f"Bearer {login.token}", "Accept": "application/json"},
            timeout=timeout,
            transport=make_transport(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.http.close()

    def get(self, path: str, **params: Any) -> Json:
        """Return the JSON of a GET; parameters that are None or empty are left out."""
        return self._call("GET", path, params=_given(params), again=True)

    def post(self, path: str, body: Json | None = None, *, keyed: bool = True) -> Json:
        """POST with an Idempotency-Key, so that a lost answer can be asked for again without doing it twice."""
        headers = {"Idempotency-Key": f"cli-{uuid.uuid4()}"} if keyed else {}
        return self._call("POST", path, json=body or {}, headers=headers, again=keyed)

    def patch(self, path: str, body: Json) -> Json:
        return self._call("PATCH", path, json=body)

    def delete(self, path: str) -> Json:
        return self._call("DELETE", path)

    def upload(self, call: str, content: BinaryIO, **params: Any) -> Json:
        """PUT a file's bytes, as they are read."""
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        return self._call("PUT", call, params=_given(params), content=content, headers=headers, timeout=UPLOAD)

    @contextmanager
    def stream(self, call: str, **params: Any) -> Iterator[httpx.Response]:
        """GET what comes in pieces, and may last; Fault also where it breaks off."""
        try:
            with self.http.stream("GET", call, params=_given(params), timeout=STREAM) as answer:
                if not answer.is_success:
                    answer.read()
                    raise fault_of(answer, self.login.url)
                yield answer
        except httpx.TransportError as error:
            raise unreachable(self.login.url, error) from None

    def pages(self, path: str, at_most: int | None = None, **params: Any) -> Iterator[Json]:
        """Yield the items of a list, page after page."""
        cursor, left = None, at_most
        while left is None or left > 0:
            page = self.get(path, cursor=cursor, limit=PAGE if left is None else min(PAGE, left), **params)
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            cursor = page["next"]
            if not cursor:
                return

    def _call(self, method: str, path: str, *, again: bool = False, **options: Any) -> Json:
        for attempt in range(1, ATTEMPTS + 1):
            last = not again or attempt == ATTEMPTS
            try:
                answer = self.http.request(method, path, **options)
            except httpx.TransportError as error:
                if last:
                    raise unreachable(self.login.url, error) from None
            else:
                if last or not _passing(answer):
                    return self._content(answer)
            time.sleep(PAUSES[attempt - 1])
        raise AssertionError  # the last attempt returned or raised

    def _content(self, answer: httpx.Response) -> Json:
        if not answer.is_success:
            raise fault_of(answer, self.login.url)
        try:
            found: Json = answer.json() if answer.content else {}
        except ValueError:
            raise Fault(
                f"{self.login.url} answers, but not as a Slipway portal does.",
                "Is the address right? It is set by slipway login --url or SLIPWAY_URL.",
                Code.UNREACHABLE,
            ) from None
        return found


def segment(ref: str) -> str:
    """Return what a person typed as one piece of a path."""
    return quote(ref, safe="")


def _given(params: Json) -> Json:
    return {key: value for key, value in params.items() if value not in (None, "", [])}


def _passing(answer: httpx.Response) -> bool:
    """Is this an answer that says nothing about the request: a proxy without its portal, our first try under way?"""
    if answer.status_code == 409 and answer.headers.get("content-type", "").startswith("application/problem+json"):
        return bool(answer.json().get("code") == "in_flight")
    return answer.status_code in (502, 504)


def open_api(timeout: httpx.Timeout = TIMEOUT) -> Api:
    """Return the API of the portal in use; Fault when nobody is signed in."""
    return Api(current(), timeout)
