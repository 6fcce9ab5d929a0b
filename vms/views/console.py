"""The console of one machine. The page only asks for tickets; bytes flow between browser and gateway."""

from urllib.parse import urlsplit
from uuid import UUID

from csp.constants import NONCE
from csp.decorators import csp_update
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

from accounts.access import Verb
from accounts.door import page, reader

from ..models import Node
from ..models.console import ConsoleKind
from ..presenting.fragments import cards_for
from ..queries import get_vm_for


@page
def console(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """The screen or the serial line (`?kind=serial`), for those who may type there."""
    vm = get_vm_for(reader(request), vm_id, Verb.CONSOLE)
    kind = request.GET.get("kind")
    context = {
        "card": cards_for(reader(request), [vm])[0],
        "console_limit": settings.CONSOLES_PER_USER,
        "kind": kind if kind == ConsoleKind.SERIAL else ConsoleKind.VNC.value,
    }
    # the terminal makes <style> elements, which bear the page's nonce; nowhere else does a policy allow that
    policy = {"style-src": [NONCE], "connect-src": [websocket_origin(vm.node)]}

    @csp_update(policy)
    def respond(request: HttpRequest) -> HttpResponseBase:
        return render(request, "vms/console.html", context)

    return respond(request)


def websocket_origin(node: Node) -> str:
    """Return where a node's consoles are, as a policy's source: ws://host:port or wss://host."""
    parts = urlsplit(node.gateway_url)
    return f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"
