"""Consoles and what a machine shows."""

import hashlib
import io

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from ninja import Query, Status
from PIL import Image
from pydantic import BaseModel, Field

from ..gateway_client import screenshot_for
from ..queries import get_vm_for
from ..services import request_console
from . import asked, shapes
from .door import actor, caller, router

routes = router("consoles", keys=False)  # the answer holds a secret
NARROWEST, WIDEST = 64, 2048
PNG = {"200": {"description": "The display as PNG.", "content": {"image/png": {"schema": {"type": "string"}}}}}


@routes.post("vms/{vm_id}/console", response={201: shapes.ConsoleTicket})
def open_console(request: HttpRequest, vm_id: str, body: asked.Console) -> Status[shapes.ConsoleTicket]:
    """Return a ticket for one console of a running machine: it works once, for 30 seconds."""
    issued = request_console(actor(request), vm_id, body.kind)
    shown = shapes.ConsoleTicket(
        url=issued.url, ticket=issued.ticket, protocols=issued.protocols, expires_at=issued.expires_at
    )
    return Status(201, shown)


class ScreenParams(BaseModel):
    """The query of a screenshot."""

    width: int | None = Field(None, ge=NARROWEST, le=WIDEST, description="Scale down to this width in pixels.")


@routes.get("vms/{vm_id}/screenshot", response=None, openapi_extra={"responses": PNG})
def get_screenshot(request: HttpRequest, vm_id: str, wanted: Query[ScreenParams]) -> HttpResponseBase:
    """Return what a running machine's display shows, a few seconds old at most."""
    user = caller(request)
    picture = screenshot_for(user, get_vm_for(user, vm_id))
    tag = f'"{hashlib.sha256(picture).hexdigest()[:32]}-{wanted.width or 0}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("If-None-Match") == tag:
        return HttpResponseNotModified(headers=headers)
    scaled = _scaled(picture, wanted.width) if wanted.width else picture
    return HttpResponse(scaled, content_type="image/png", headers=headers)


def _scaled(picture: bytes, width: int) -> bytes:
    """Return the PNG no wider than `width` pixels."""
    with Image.open(io.BytesIO(picture), formats=["PNG"]) as image:
        if image.width <= width:
            return picture
        small = image.convert("RGB").resize((width, max(1, round(image.height * width / image.width))))
    out = io.BytesIO()
    small.save(out, "PNG")
    return out.getvalue()
