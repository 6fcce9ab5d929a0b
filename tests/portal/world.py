"""A small world for portal tests: the demo seed's people, one node on a fake hypervisor, sizes and images."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts.actor import Actor
from accounts.models import Membership, Project, Role, User
from accounts.services import create_project, create_user, issue_token
from hypervisor.fake import FakeHypervisor
from hypervisor.specs import NetworkSpec, PoolSpec
from vms import services
from vms.models import Flavor, Image, Network, Node, Operation, StoragePool, VirtualMachine
from vms.states import LIVE

PASSWORD = "correct-horse-battery"
PEOPLE = ("admin", "alice", "bob", "dana", "charlie")
FLAVORS = (("nano", 1, 256, 2), ("small", 1, 512, 8), ("medium", 2, 1024, 16), ("large", 2, 2048, 32))
ROUNDS = 40  # of draining, before a test says that something never ends


class ApiClient(Client):
    """A test client that speaks JSON: `api.call("POST", "vms", {...})` below /api/v1/, by token or session."""

    def __init__(self, token: str = "", **defaults: Any) -> None:
        super().__init__(**defaults)
        if token:
            self.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: Any = None, **extra: Any) -> Any:
        """Send JSON and return the response; header names as in `headers={"Idempotency-Key": "k"}`."""
        options = {"data": b"" if body is None else body, "content_type": "application/json"}
        if method == "GET":
            options = {}
        return getattr(self, method.lower())(f"/api/v1/{path}", **options, **extra)


@dataclass
class World:
    """Rows by name, and the fake hypervisor that carries operations out when `drain()` is called."""

    users: dict[str, User]
    harbor: Project
    node: Node
    pool: StoragePool
    network: Network
    flavors: dict[str, Flavor]
    images: dict[str, Image]
    hypervisor: FakeHypervisor

    def __getattr__(self, name: str) -> User:
        try:
            return self.__dict__["users"][name]
        except KeyError:
            raise AttributeError(name) from None

    def actor(self, name: str) -> Actor:
        return Actor(user=self.users[name], via="test")

    def token(self, name: str, **options: Any) -> str:
        return issue_token(self.actor(name), "test", **options)[1]

    def api(self, name: str = "") -> ApiClient:
        """Return a client with an API token of this person; without a name nobody is signed in."""
        return ApiClient(self.token(name)) if name else ApiClient()

    def browser(self, name: str = "", **options: Any) -> ApiClient:
        """Return a client with a session of this person."""
        client = ApiClient(**options)
        if name:
            client.force_login(self.users[name])
        return client

    def vm(self, name: str = "web-1", by: str = "alice", *, drain: bool = True, **asked: Any) -> VirtualMachine:
        """Make a machine in harbor through the service, by default running."""
        wanted = {"image": "micro", "flavor": "nano", "project": "harbor", **asked}
        vm, _operation = services.request_create(self.actor(by), services.NewVm(name=name, **wanted))
        if drain:
            self.drain()
        return VirtualMachine.objects.get(pk=vm.pk)

    def drain(self) -> None:
        """Carry out every operation that waits, in this thread, until none is live."""
        from vms.operations import runner

        for _round in range(ROUNDS):
            live = list(Operation.objects.filter(status__in=LIVE).order_by("created_at").values_list("pk", flat=True))
            if not live:
                return
            Operation.objects.filter(pk__in=live).update(not_before=None)
            for pk in live:
                runner.run(pk, self.hypervisor)
        raise AssertionError(f"still live after {ROUNDS} rounds: {live}")


def make_world() -> World:
    """Fill the empty database. The caller has set DATA_DIR to a folder of the test's own."""
    users = {
        name: create_user(Actor.system(), name, PASSWORD, email=f"{name}@test.invalid", is_staff=name == "admin")
        for name in PEOPLE
    }
    harbor = create_project(Actor.system(), "harbor", users["alice"])
    Membership.objects.create(project=harbor, user=users["bob"], role=Role.MEMBER)
    Membership.objects.create(project=harbor, user=users["dana"], role=Role.VIEWER)
    flavors = {
        name: Flavor.objects.create(name=name, vcpus=vcpus, memory_mib=memory_mib, disk_gib=disk_gib)
        for name, vcpus, memory_mib, disk_gib in FLAVORS
    }
    images = {
        name: Image.objects.create(
            name=name, title=title, file_name=f"{name}.qcow2", sha256="0" * 64, size_bytes=10**7,
            virtual_size_bytes=virtual_gib * 2**30,
        )
        for name, title, virtual_gib in (("micro", "Slipway micro", 1), ("debian-12", "Debian 12", 3))
    }  # fmt: skip
    node, pool, network, hypervisor = _make_node()
    return World(users, harbor, node, pool, network, flavors, images, hypervisor)


def _make_node() -> tuple[Node, StoragePool, Network, FakeHypervisor]:
    node = Node.objects.create(
        name="node-1", gateway_url="http://127.0.0.1:8001", vcpus=64, memory_mib=2**20, memory_free_mib=2**19,
        hypervisor_ok=True, synced_at=timezone.now(),
    )  # fmt: skip
    name, path = f"slipway-{settings.INSTALLATION_ID}", PurePosixPath(settings.DATA_DIR) / "pool"
    pool = StoragePool.objects.create(
        node=node, name=name, path=str(path), capacity_bytes=500 * 2**30, free_bytes=400 * 2**30
    )
    network = Network.objects.create(
        node=node, name=name, bridge="sw-test", subnet="10.71.0.0/20", filter_name=f"{name}-guest"
    )
    hypervisor = FakeHypervisor()
    hypervisor.ensure_pool(PoolSpec(name, path))
    hypervisor.ensure_network(
        NetworkSpec(
            name=name, uuid=uuid4(), bridge="sw-test", gateway="10.71.0.1", prefix_length=20, dhcp_first="10.71.0.2",
            dhcp_last="10.71.15.254", filter_name=f"{name}-guest", filter_uuid=uuid4(),
            hosts_dir=path.parent / "dhcp",
        )
    )  # fmt: skip
    return node, pool, network, hypervisor
