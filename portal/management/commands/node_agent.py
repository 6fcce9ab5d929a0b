"""`manage.py node_agent`: run this host's agent in the foreground."""

import asyncio
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from hypervisor.factory import open_events, open_hypervisor
from portal.node_agent.agent import NodeAgent


class Command(BaseCommand):
    help = "Registers this hypervisor host, listens to libvirt and keeps the database true. Runs until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        agent = NodeAgent(open_hypervisor(settings.LIBVIRT_URI), open_events(settings.LIBVIRT_URI))
        work = asyncio.ensure_future(agent.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        try:
            await work
        except asyncio.CancelledError:
            pass
        finally:
            agent.hypervisor.close()
