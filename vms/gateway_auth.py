"""How web shows a gateway that it is web: a signature over what it asks for, good for 30 s.

Both sides share the secret key. The signature names the node and the path, so it is worth nothing elsewhere.
"""

from django.core import signing

HEADER = "X-Slipway-Signature"
GOOD_FOR_SECONDS = 30
_SALT = "slipway.gateway"


def screenshot_path(domain_uuid: object) -> str:
    return f"/internal/v1/vms/{domain_uuid}/screenshot"


def sign(node: str, path: str) -> str:
    """Return the header's value for a GET of `path` at the gateway of `node`."""
    return signing.dumps([node, path], salt=_SALT)


def verify(value: str, node: str, path: str) -> bool:
    """Was this signed by web, for this node and path, within the last 30 s?"""
    try:
        said = signing.loads(value, salt=_SALT, max_age=GOOD_FOR_SECONDS)
    except signing.BadSignature:
        return False
    return bool(said == [node, path])
