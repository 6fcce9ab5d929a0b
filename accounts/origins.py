"""Which site a websocket comes from. Browsers send one Origin header, and no more than that is believed."""

from collections.abc import Mapping
from typing import Any


def origin_of(scope: Mapping[str, Any]) -> str | None:
    """Return the one Origin header; None when there is none; "" when there are several or it is not ASCII."""
    values = [value for name, value in scope.get("headers", []) if name.lower() == b"origin"]
    if not values:
        return None
    if len(values) > 1:
        return ""
    try:
        return str(values[0].decode("ascii"))
    except UnicodeDecodeError:
        return ""
