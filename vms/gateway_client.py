"""What web asks a node's gateway for: short answers that carry a VM's bytes, fetched over HTTP and never queued.

A gateway that does not answer is left alone for some seconds, so that its pages are slow once and not every time.
"""

import threading
from uuid import UUID

import httpx
import structlog
from django.core.cache import cache
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.refusals import InvalidState
from accounts.throttling import take

from . import gateway_auth
from .gateway_calls import Away, call
from .models import Node, VirtualMachine
from .states import ACTIVE

log = structlog.get_logger(__name__)
FRESH_SECONDS = 3  # how old a screenshot may be
AWAY_SECONDS = 5  # how long a gateway that did not answer is not asked again
_TIMEOUT = httpx.Timeout(5, connect=1)
_taking: dict[UUID, threading.Lock] = {}


def screenshot_for(user: User, vm: VirtualMachine) -> bytes:
    """Return the PNG of a display, at most 3 s old. InvalidState when it is off, TooMany, Unavailable.

    The caller has checked that this user may see this machine. Only what has to be fetched counts against the
    user's rate `screenshot`; who asks while another fetches the same waits for that one.
    """
    if vm.observed_state not in ACTIVE:
        raise InvalidState(_("This machine is off: it has no picture."))
    key = f"screenshot:{vm.domain_uuid}"
    found: bytes | None = cache.get(key)
    if found is not None:
        return found
    lock = _taking.setdefault(vm.domain_uuid, threading.Lock())
    try:
        with lock:
            found = cache.get(key)
            if found is None:
                take("screenshot", user.pk)
                found = _fetch(vm.node, gateway_auth.screenshot_path(vm.domain_uuid))
                cache.set(key, found, FRESH_SECONDS)
    finally:
        _taking.pop(vm.domain_uuid, None)
    return found


def _fetch(node: Node, path: str) -> bytes:
    """GET `path` from a node's gateway; InvalidState where the domain has none, Unavailable."""
    left_alone = f"gateway-away:{node.pk}"
    if cache.get(left_alone):
        raise Away(node)
    try:
        response = call(node, "GET", path, timeout=_TIMEOUT)
    except Away:
        cache.set(left_alone, True, AWAY_SECONDS)
        raise
    if response.status_code in {404, 409}:
        raise InvalidState(_("This machine is off: it has no picture."))
    if response.status_code != httpx.codes.OK:
        log.warning("gateway.refused", node=node.name, status=response.status_code)
        raise Away(node)
    return response.content
