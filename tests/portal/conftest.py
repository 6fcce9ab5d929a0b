"""Portal tests: a real database, a fake hypervisor, bells that are noted and not rung, nothing slow."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections
from django.utils import translation

from console.blocking import Blocking
from tests.portal.world import World, make_world
from vms.bells import BellTower
from vms.operations.leases import LeaseKeeper

Bell = Callable[[], Awaitable[None]]


@pytest.fixture(scope="session", autouse=True)
def _let_go_of_the_database(django_db_setup: None) -> Iterator[None]:
    """Close what async tests opened in asgiref's thread: PostgreSQL does not drop a database in use."""
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture(autouse=True)
def _quick_settings(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    settings.NODE_NAME = "node-1"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.WHITENOISE_AUTOREFRESH = True  # or every new test client reads all static files
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    memory = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": str(tmp_path)}
    settings.CACHES = dict.fromkeys(settings.CACHES, memory)


@pytest.fixture(autouse=True)
def _in_english() -> Iterator[None]:
    """A page in another language leaves the thread in it."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def bells(monkeypatch: pytest.MonkeyPatch) -> list[Bell]:
    """Return the bells that were rung; none of them sounds, because there is no Redis here."""
    rung: list[Bell] = []
    monkeypatch.setattr(BellTower, "ring", lambda _self, bell: rung.append(bell))
    return rung


@pytest.fixture(autouse=True)
def _no_renewals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are not renewed here: a thread of its own would look into a test's database while it is torn down."""
    monkeypatch.setattr(LeaseKeeper, "_renew_for_ever", lambda _self: None)


@pytest.fixture(autouse=True)
def _gateways_end_their_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that goes leaves what it asks the database to its threads; here that would meet the emptying of it."""
    close = Blocking.close

    def close_and_wait(self: Blocking) -> None:
        close(self)
        self._database.shutdown(wait=True)

    monkeypatch.setattr(Blocking, "close", close_and_wait)


@pytest.fixture
def world(db: None) -> World:
    """The demo seed's people on one node with a fake hypervisor: see tests/portal/world.py."""
    return make_world()
