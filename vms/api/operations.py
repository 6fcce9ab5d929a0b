"""Operations: how far they are, and how to stop one."""

from django.http import HttpRequest
from ninja import Status

from ..queries import get_operation_for
from ..services import request_cancel
from . import asked, shapes, show
from .door import actor, caller, router

routes = router("operations")


@routes.get("operations/{operation_id}", response=shapes.Operation)
def get_operation(request: HttpRequest, operation_id: str) -> shapes.Operation:
    """Return one operation; it outlives its machine."""
    return show.operation(get_operation_for(caller(request), operation_id))


@routes.post("operations/{operation_id}/cancel", response={202: shapes.OperationOnly})
def cancel_operation(
    request: HttpRequest, operation_id: str, body: asked.Nothing | None = None
) -> Status[shapes.OperationOnly]:
    """Cancel an operation: at once while it waits, else before its next step; 409 where it is too late."""
    operation = request_cancel(actor(request), operation_id)
    return Status(202, shapes.OperationOnly(operation=show.operation(operation)))
