"""Requests of web and workers to a node's gateway: signed, over connections that are kept; an answer, or `Away`."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import httpx
import structlog
from django.utils.translation import gettext_lazy as _

from accounts.refusals import Unavailable

from . import gateway_auth
from .models import Node

log = structlog.get_logger(__name__)
LASTING = httpx.Timeout(70, connect=1)  # a gateway gives up a transfer that stands still for 60 s
FINISHING = httpx.Timeout(70, connect=1, read=320)  # and waits 300 s for a guest that unpacks what it was sent
_TIMEOUT = httpx.Timeout(10, connect=1)
_LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=8)


class Away(Unavailable):
    """A node's gateway does not answer, or not in a way that we understand."""

    def __init__(self, node: Node) -> None:
        text = _("The node %(node)s does not answer just now. Try again in a moment.")
        super().__init__(text % {"node": node.name})


def call(node: Node, method: str, path: str, **options: Any) -> httpx.Response:
    """Return what the gateway says, whatever its status. Away."""
    try:
        return _client().request(method, _url(node, path), headers=_signed(node, path, method), **options)
    except httpx.TransportError as error:
        raise away(node, repr(error)) from None


@asynccontextmanager
async def lasting(node: Node, path: str) -> AsyncIterator[httpx.Response]:
    """Yield an answer whose body has not been read yet, for as long as it comes. Away."""
    async with httpx.AsyncClient(timeout=LASTING, trust_env=False, verify=_trusted()) as client:
        request = client.build_request("GET", _url(node, path), headers=_signed(node, path, "GET"))
        try:
            response = await client.send(request, stream=True)
        except httpx.TransportError as error:
            raise away(node, repr(error)) from None
        try:
            yield response
        finally:
            await response.aclose()


def away(node: Node, why: str) -> Away:
    """Return the refusal, and tell the log why."""
    log.warning("gateway.away", node=node.name, error=why)
    return Away(node)


def _url(node: Node, path: str) -> str:
    return node.gateway_url.rstrip("/") + path


def _signed(node: Node, path: str, method: str) -> dict[str, str]:
    return {gateway_auth.HEADER: gateway_auth.sign(node.name, path, method)}


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """Return the host's certificate authorities, which take some 20 ms to read."""
    return httpx.create_ssl_context()


@lru_cache(maxsize=1)
def _client() -> httpx.Client:
    """The process's client: connections are kept. Proxies of the environment are none of a gateway's business."""
    return httpx.Client(timeout=_TIMEOUT, limits=_LIMITS, trust_env=False, follow_redirects=False)
