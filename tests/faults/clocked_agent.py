"""The node agent with a clock beside its work: how late its loop wakes up goes into the file that is named."""

import asyncio
import os
import sys
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

import django

django.setup()

from django.core.management import call_command  # noqa: E402 - apps must be loaded first

from portal.node_agent.agent import NodeAgent  # noqa: E402

TICK_SECONDS = 0.05


class ClockedAgent(NodeAgent):
    """Does what the agent does, and writes a line for each tick: by how many seconds it came late."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(super().run())
            tasks.create_task(self._tick())

    @staticmethod
    async def _tick() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            lags.write(f"{loop.time() - due:.6f}\n")


if __name__ == "__main__":
    from portal.management.commands import node_agent

    node_agent.NodeAgent = ClockedAgent
    with Path(sys.argv[1]).open("w", buffering=1) as lags:
        call_command("node_agent")
