"""What fault tests share: a portal on a private host with a pool whose room can change, or on the fake hypervisor."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.faults.installation import Installation, installation
from tests.faults.private_host import PrivateHost, home_with_micro

ROOMY = 3 * 2**30  # more than the reserve below which no machine is placed


@dataclass
class SmallPool:
    """A pool in memory of its own, whose size is changed while it is in use: `leave(bytes)`, `make_room()`."""

    path: Path

    def __enter__(self) -> "SmallPool":
        self.path.mkdir(parents=True)
        options = f"size={ROOMY},mode=0711"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "slipway-faults", str(self.path)], check=True)
        return self

    def __exit__(self, *_error: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    @property
    def used(self) -> int:
        found = os.statvfs(self.path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def leave(self, room: int) -> None:
        """Let so many bytes be free."""
        self._resize(self.used + room)

    def make_room(self) -> None:
        self._resize(ROOMY)

    def _resize(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with home_with_micro() as folder:
        yield folder


@pytest.fixture(scope="module")
def pool(home: Path) -> Iterator[SmallPool]:
    """Mounted before the host's namespaces are made, so that both worlds see it."""
    with SmallPool(home / "data/pool") as made:
        yield made


@pytest.fixture(scope="module")
def host(home: Path, pool: SmallPool) -> Iterator[PrivateHost]:
    with PrivateHost(home) as made:
        yield made


@pytest.fixture(scope="module")
def portal(home: Path, host: PrivateHost) -> Iterator[Installation]:
    with installation(home, libvirt_uri=host.uri) as made:
        yield made


@pytest.fixture
def audited(portal: Installation) -> Iterator[None]:
    """Ask every node of a portal, the test's or its file's, for its invariants when a test has ended."""
    yield
    portal.audit()


@pytest.fixture
def running(portal: Installation) -> tuple[str, str]:
    """Return (name, domain uuid) of a running machine."""
    machines = portal("machines")
    name = "v-1"
    if name not in machines:
        portal("create", name)
    elif machines[name][2] != "running":
        portal("ask", "start", name)
    portal.wait(lambda: portal("live") == 0, BOOTED, "the machine has booted")
    uuid, _desired, observed, _reason = portal("machines")[name]
    assert observed == "running", portal("operations")
    portal.wait(lambda: portal("guest_answers", name), BOOTED, "the guest answers")
    return name, uuid


BOOTED = 240.0  # seconds for an emulated guest on a busy machine


# --- on the fake hypervisor -------------------------------------------------------------------------------------
CALL_SECONDS = 0.15  # of the fake hypervisor: a create takes some two seconds
DATABASES = [pytest.param("postgresql", marks=pytest.mark.short), "sqlite"]  # in the usual run, the one of production


class Ours:
    """A portal that several tests use one after the other: names that nobody had, and this test's operations."""

    def __init__(self, portal: Installation, numbers: Iterator[int]) -> None:
        self.portal = portal
        self._numbers = numbers
        self._before = {row[0] for row in portal("operations")}

    def name(self) -> str:
        return f"v-{next(self._numbers)}"

    def settled(self, seconds: float = 120.0) -> list[list[object]]:
        """Wait until everything has ended and the audit is clean; return this test's operations."""
        return [row for row in self.portal.settled(seconds) if row[0] not in self._before]

    def ends(self) -> list[tuple[object, object]]:
        """[(kind, status), ...] of them."""
        return [(kind, status) for _id, kind, status, *_rest in self.settled()]


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return count()


@pytest.fixture(scope="module", params=DATABASES)
def on_fake(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """A whole portal, for all tests of a file."""
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as name:
        Path(name).chmod(0o711)  # the server's user may pass
        with installation(Path(name), postgres=request.param == "postgresql") as made:
            made("slow", CALL_SECONDS)
            yield made


@pytest.fixture
def ours(on_fake: Installation, numbers: Iterator[int]) -> Ours:
    """What one test asks of it; what an earlier one has killed is there again."""
    for name in ("redis", "worker", "agent", "beat"):
        if name not in on_fake.running:
            on_fake.start(name)
    return Ours(on_fake, numbers)
