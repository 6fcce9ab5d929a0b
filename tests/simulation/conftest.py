"""A database put back to its beginning in a millisecond, virtual time, seeded chance, bells that may be lost."""

import os
import pickle
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.db.models.functions import Now
from django.test.utils import override_settings
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from tests.portal.world import World, make_world
from tests.simulation.machinery import BEGINNING, Scheduler
from vms.bells import BellTower

CHANNELS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture(scope="session")
def memory(django_db_blocker: DjangoDbBlocker) -> Iterator[sqlite3.Connection]:
    """Put a database of its own, in memory, in the place of the configured one, which is never opened here."""
    configured = connections["default"]
    config = {**configured.settings_dict, "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    config["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
    with django_db_blocker.unblock():
        connections["default"] = DatabaseWrapper(config, "default")
        call_command("migrate", verbosity=0)
        assert connection.connection.execute("PRAGMA database_list").fetchall()[0][2] == ""  # no file
        yield connection.connection
        connections["default"].close()
        connections["default"] = configured


@pytest.fixture(scope="session")
def beginning(memory: sqlite3.Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], World]]:
    """Return a function that puts database and fake host back to where the demo's people have no machine yet."""
    quick = {
        "DATA_DIR": tmp_path_factory.mktemp("data"),
        "NODE_NAME": "node-1",
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
        "CHANNEL_LAYERS": CHANNELS,
    }
    with override_settings(**quick), pytest.MonkeyPatch.context() as patch:
        patch.setattr(BellTower, "ring", lambda _self, bell: None)
        patch.setattr(timezone, "now", lambda: BEGINNING)
        world = make_world()
        empty, host = sqlite3.connect(":memory:"), pickle.dumps(world.hypervisor._host)
        memory.backup(empty)

        def back() -> World:
            empty.backup(memory)
            world.hypervisor._host = pickle.loads(host)
            world.hypervisor.listeners.clear()
            return world

        yield back
        empty.close()


@pytest.fixture
def scheduler_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Scheduler]:
    """Return a function that makes a scheduler whose seed decides all chance and whose clock is everybody's."""

    def make(seed: int) -> Scheduler:
        scheduler = Scheduler(seed)
        numbers = random.Random(seed + 1)

        def as_sqlite(_self: Now, _compiler: Any, _connection: Any, **_context: Any) -> tuple[str, list[str]]:
            return "%s", [scheduler.now.strftime("%Y-%m-%d %H:%M:%S.%f")]

        monkeypatch.setattr(Now, "as_sqlite", as_sqlite)
        monkeypatch.setattr(timezone, "now", lambda: scheduler.now)
        monkeypatch.setattr(os, "urandom", numbers.randbytes)
        monkeypatch.setattr(random, "_urandom", numbers.randbytes)
        random.seed(seed)
        return scheduler

    return make


@pytest.fixture
def data_dir() -> Path:
    return Path(settings.DATA_DIR)
