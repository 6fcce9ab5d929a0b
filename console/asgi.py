"""The gateway's ASGI application, for consoles and what else carries a VM's bytes; one process on every node.

    uvicorn console.asgi:application --port 8001 --ws console.websocket:ConsoleSocket

Its websockets are plain ASGI callables: a consumer class would cost six times as much on the way up.
"""

import os
import resource

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup()

from django.conf import settings  # noqa: E402 - settings must be ready first

from hypervisor.factory import open_hypervisor  # noqa: E402

from .gateway import Gateway  # noqa: E402

# two descriptors a console and one a machine: the usual soft limit of 1024 is meant for select()
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))

application = Gateway(open_hypervisor(settings.LIBVIRT_URI), settings.DATA_DIR / "sock")
