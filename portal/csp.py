"""The content security policy, strict from the first commit: no inline style, script or handler anywhere."""

from urllib.parse import urlsplit

from csp.constants import NONCE, NONE, SELF

from . import env


def gateway_sources() -> list[str]:
    """Return the gateway's websocket origins; a gateway on loopback is reached by either name."""
    parts = urlsplit(env.gateway_url())
    scheme = "wss" if parts.scheme == "https" else "ws"
    hosts = ["127.0.0.1", "localhost"] if parts.hostname in ("127.0.0.1", "localhost") else [parts.hostname]
    return [f"{scheme}://{host}:{parts.port}" if parts.port else f"{scheme}://{host}" for host in hosts]


CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF, *gateway_sources()],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
