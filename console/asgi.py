"""The gateway's ASGI application, for consoles and what else carries a VM's bytes; one process on every node.

    uvicorn console.asgi:application --port 8001 --ws console.websocket:ConsoleSocket

Its websockets are plain ASGI callables: a consumer class would cost six times as much on the way up.
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup()

from django.conf import settings  # noqa: E402 - settings must be ready first

from hypervisor.factory import open_hypervisor  # noqa: E402

from .gateway import Gateway  # noqa: E402

application = Gateway(open_hypervisor(settings.LIBVIRT_URI), settings.DATA_DIR / "sock")
