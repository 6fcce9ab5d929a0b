"""The fake's own manners: it misbehaves as told, and can be shared."""

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from hypervisor.errors import AgentUnavailable, NoSpace, Unavailable, WrongState
from hypervisor.factory import open_events, open_hypervisor
from hypervisor.fake import FakeHypervisor
from hypervisor.specs import DomainEvent, DomainState
from tests.unit.hypervisor.goldens import OVERLAY, PLAIN, POOL


def with_domain(fake: FakeHypervisor) -> FakeHypervisor:
    fake.ensure_pool(POOL)
    fake.ensure_volume(OVERLAY)
    fake.define(PLAIN)
    return fake


def test_a_verb_fails_as_often_as_told_and_does_nothing() -> None:
    fake = with_domain(FakeHypervisor())
    fake.fail_next("start", NoSpace("full"), times=2)
    for _ in range(2):
        with pytest.raises(NoSpace):
            fake.start(PLAIN.uuid)
    assert fake.domain(PLAIN.uuid).state is DomainState.STOPPED  # type: ignore[union-attr]
    fake.start(PLAIN.uuid)
    assert fake.calls[-1] == "start"


def test_a_host_that_is_away_answers_nothing_until_it_is_back() -> None:
    fake = with_domain(FakeHypervisor())
    fake.set_away(True)
    with pytest.raises(Unavailable):
        fake.domains("0badcafe")
    fake.set_away(False)
    assert len(fake.domains("0badcafe")) == 1


def test_a_deaf_guest_ignores_and_a_mute_one_never_answers() -> None:
    fake = with_domain(FakeHypervisor())
    fake.start(PLAIN.uuid)
    before = fake.agent(PLAIN.uuid, "guest-file-read")
    fake.set_deaf(PLAIN.uuid)
    fake.shutdown(PLAIN.uuid)
    fake.reboot(PLAIN.uuid)
    assert fake.domain(PLAIN.uuid).state is DomainState.RUNNING  # type: ignore[union-attr]
    assert fake.agent(PLAIN.uuid, "guest-file-read") == before
    fake.set_mute(PLAIN.uuid)
    with pytest.raises(AgentUnavailable):
        fake.agent(PLAIN.uuid, "guest-ping")
    fake.set_deaf(PLAIN.uuid, deaf=False)
    fake.shutdown(PLAIN.uuid)
    assert fake.domain(PLAIN.uuid).reason == "shutdown"  # type: ignore[union-attr]


def test_what_happens_behind_our_back_is_told_unless_events_are_dropped() -> None:
    fake, heard = with_domain(FakeHypervisor()), []
    fake.listeners.append(heard.append)
    fake.start(PLAIN.uuid)
    fake.happen(PLAIN.uuid, DomainState.CRASHED, "panicked")
    assert heard == [DomainEvent(PLAIN.uuid, "lifecycle")] * 2
    with pytest.raises(WrongState):
        fake.undefine(PLAIN.uuid)
    fake.drop_events = True
    fake.force_off(PLAIN.uuid)
    fake.vanish(PLAIN.uuid)
    fake.lose_volume(POOL.name, OVERLAY.name)
    assert len(heard) == 2
    assert fake.domain(PLAIN.uuid) is None
    assert fake.volume(POOL.name, OVERLAY.name) is None


def _start(path: str) -> None:
    FakeHypervisor(path).start(PLAIN.uuid)


def test_processes_share_one_host_through_a_file(tmp_path: Path) -> None:
    uri = f"fake://{tmp_path}/host"
    fake = open_hypervisor(uri)
    assert isinstance(fake, FakeHypervisor)
    with_domain(fake)
    process = multiprocessing.get_context("spawn").Process(target=_start, args=(f"{tmp_path}/host",))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert fake.domain(PLAIN.uuid).state is DomainState.RUNNING  # type: ignore[union-attr]


def test_two_hundred_domains_take_no_time_to_speak_of() -> None:
    fake = with_domain(FakeHypervisor())
    before = time.process_time()
    for _ in range(200):
        uuid = uuid4()
        fake.define(replace(PLAIN, uuid=uuid, name=f"sw-{uuid}"))
        fake.start(uuid)
    assert len(fake.domains("0badcafe")) == 201
    assert time.process_time() - before < 2


async def test_the_fakes_event_source_says_that_it_connected() -> None:
    events = open_events("fake:")
    assert await anext(events.listen()) is None
