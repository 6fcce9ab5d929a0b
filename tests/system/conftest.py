"""System tests: a running portal, real libvirt and QEMU, guests that boot."""

from collections.abc import Iterator

import libvirt
import pytest

from tests.live import Api, Live
from tests.live_portal import running_portal


@pytest.fixture(scope="session")
def live() -> Live:
    return running_portal()


@pytest.fixture(scope="session")
def alice(live: Live) -> Iterator[Api]:
    with live.api("alice") as api:
        yield api


@pytest.fixture(scope="session")
def host() -> Iterator[libvirt.virConnect]:
    """libvirt itself, to see whether what the portal says is so."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open("qemu:///system")
    yield connection
    connection.close()
