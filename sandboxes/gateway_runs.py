"""What web and workers ask a node's gateway about runs: begin one, end one. Bytes are fetched, never queued."""

import httpx
import structlog
from django.utils.translation import gettext_lazy as _

from accounts.refusals import Unavailable
from vms import gateway_auth
from vms.models import Node

from .models import Run

log = structlog.get_logger(__name__)
_TIMEOUT = httpx.Timeout(5, connect=1)


def start(run: Run) -> None:
    """Let the gateway of the run's node take it from the database and begin it. Unavailable."""
    _post(run.vm.node, f"/internal/v1/runs/{run.pk}/start")


def kill(run: Run) -> None:
    """Let the gateway end a run that is under way. Unavailable."""
    _post(run.vm.node, f"/internal/v1/runs/{run.pk}/kill")


def _post(node: Node, path: str) -> None:
    headers = {gateway_auth.HEADER: gateway_auth.sign(node.name, path)}
    try:
        with httpx.Client(timeout=_TIMEOUT, trust_env=False) as client:
            response = client.post(node.gateway_url.rstrip("/") + path, headers=headers)
    except httpx.TransportError as error:
        log.warning("gateway.away", node=node.name, error=repr(error))
        raise Unavailable(_("The node does not answer just now. Try again in a moment.")) from None
    if response.status_code not in (200, 202, 204):
        log.warning("gateway.refused", node=node.name, status=response.status_code)
        raise Unavailable(_("The node does not answer just now. Try again in a moment."))
