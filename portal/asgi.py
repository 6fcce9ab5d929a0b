"""The web role's ASGI application: pages, API and the status websocket. It never touches libvirt."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402 - apps must be loaded first
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from vms.routing import websocket_urlpatterns  # noqa: E402

from .body_limit import BodyLimit  # noqa: E402
from .origins import ExactOrigin  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": BodyLimit(django_application),
        # channels-stubs know Django's URL patterns by another name
        "websocket": ExactOrigin(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),  # type: ignore[arg-type]
    }
)
