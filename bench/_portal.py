"""A portal of the benchmark's own: a database in a temporary folder, filled as large as the measurement wants."""

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accounts.models import User

PER_PROJECT = 10_000


@dataclass
class Portal:
    """The demo people, and a way to fill the project harbor."""

    alice: "User"
    token: str

    def fill(self, total: int) -> None:
        """Make harbor hold `total` machines: rows as the engine leaves them, without the engine."""
        from vms.models import Nic, VirtualMachine, Volume

        have = VirtualMachine.objects.count()
        vms = [self._machine(number) for number in range(have, total)]
        VirtualMachine.objects.bulk_create(vms, batch_size=500)
        pool, network = self._places
        Volume.objects.bulk_create([Volume(vm=vm, pool=pool, size_gib=vm.disk_gib) for vm in vms], batch_size=500)
        cards = [
            Nic(
                vm=vm,
                network=network,
                mac=f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
                address=f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}",
            )
            for number, vm in enumerate(vms, have + 2)
        ]
        Nic.objects.bulk_create(cards, batch_size=500)

    def prepare(self) -> None:
        """Make the node, its pool and network, and one image."""
        from django.utils import timezone

        from accounts.models import Project
        from vms.models import Flavor, Image, Network, Node, StoragePool

        self.node = Node.objects.create(
            name="bench", gateway_url="http://127.0.0.1:1", hypervisor_ok=True, synced_at=timezone.now(),
            memory_mib=2**30, vcpus=64,
        )  # fmt: skip
        pool = StoragePool.objects.create(node=self.node, name="bench", path="/nowhere", free_bytes=2**50)
        network = Network.objects.create(
            node=self.node, name="bench", bridge="bench", subnet="10.64.0.0/12", filter_name="bench"
        )
        self._places = pool, network
        self.image = Image.objects.create(
            name="micro", title="Micro", file_name="m.qcow2", sha256="0" * 64, size_bytes=1, virtual_size_bytes=2**29
        )
        self.flavor = Flavor.objects.get(name="nano")
        self.project = Project.objects.get(name="harbor")

    def _machine(self, number: int) -> Any:
        from vms.models import VirtualMachine
        from vms.states import ATTENTION

        state = ("running", "stopped", "running", "paused", "crashed")[number % 5]
        return VirtualMachine(
            project=self.project, created_by=self.alice, name=f"machine-{number:05}", node=self.node, image=self.image,
            flavor=self.flavor, vcpus=1, memory_mib=256, disk_gib=2, desired_state="stopped", observed_state=state,
            attention_rank=ATTENTION[state],
        )  # fmt: skip


def open_portal() -> Portal:
    """Set up Django on an empty database and seed the demo people. Call once, before importing any model."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench."))
    os.environ.update(
        SLIPWAY_VAR_DIR=str(folder),
        SLIPWAY_DATA_DIR=str(folder / "data"),
        SLIPWAY_INSTALLATION_ID="000bec00",
        SLIPWAY_LIBVIRT_URI="fake:",
        SLIPWAY_LOG_LEVEL="ERROR",
        DJANGO_SETTINGS_MODULE="portal.settings",
        **({} if os.environ.get("DATABASE_URL") else {"DATABASE_URL": f"sqlite:///{folder}/bench.sqlite3"}),
    )
    import django

    django.setup()
    logging.disable(logging.WARNING)
    from django.core.management import call_command

    from accounts.actor import Actor
    from accounts.models import User
    from accounts.services import issue_token_for

    call_command("migrate", verbosity=0)
    call_command("seed_demo")
    alice = User.objects.get(username="alice")
    _token, secret = issue_token_for(Actor.system(), alice, "bench")
    portal = Portal(alice, secret)
    portal.prepare()
    return portal
