"""How web shows a gateway that it is web: a signature over what it asks for, good for 30 s.

Both sides share the secret key. The signature names the node, the method and the whole path, so it is worth nothing
elsewhere. A path holds ids and what the gateway checks itself; the bytes of a file that is put are not signed.
"""

from urllib.parse import quote
from uuid import UUID

from django.core import signing

HEADER = "X-Slipway-Signature"
GOOD_FOR_SECONDS = 30
_SALT = "slipway.gateway"


def screenshot_path(domain_uuid: object) -> str:
    return f"/internal/v1/vms/{domain_uuid}/screenshot"


def run_path(run_id: UUID, what: str = "", **query: object) -> str:
    """Return the path of a run at its gateway, of its output or its events, with a query."""
    path = f"/internal/v1/runs/{run_id}" + (f"/{what}" if what else "")
    return path + ("?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "")


def files_path(domain_uuid: UUID, path: str, kind: str = "", mode: str = "") -> str:
    """Return the path of a guest's file or folder at its gateway; of kind "listing", of what is in the folder."""
    found = f"/internal/v1/vms/{domain_uuid}/files?path={quote(path, safe='', errors='surrogateescape')}"
    return found + (f"&kind={kind}" if kind else "") + (f"&mode={mode}" if mode else "")


def sign(node: str, path: str, method: str = "GET") -> str:
    """Return the header's value for asking the gateway of `node` for `path`, query and all."""
    return signing.dumps([node, method, path], salt=_SALT)


def verify(value: str, node: str, path: str, method: str = "GET") -> bool:
    """Was this signed by web, for this node, method and path, within the last 30 s?"""
    try:
        said = signing.loads(value, salt=_SALT, max_age=GOOD_FOR_SECONDS)
    except signing.BadSignature:
        return False
    return bool(said == [node, method, path])
