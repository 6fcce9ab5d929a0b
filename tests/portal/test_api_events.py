"""`GET events`: ids and versions, only of what may be seen, ending with the right to see it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.test import AsyncClient

from accounts.actor import Actor
from accounts.models import Membership, User
from accounts.services import revoke_token
from vms import broadcast
from vms.api import feed

pytestmark = pytest.mark.django_db(transaction=True)
SECONDS = 10


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(feed, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(feed, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(feed, "_open", Counter())


@pytest.fixture
def awake(transactional_db, world):
    """Return the world, in a database that other threads see."""
    return world


async def connect(token: str):
    response = await AsyncClient().get("/api/v1/events", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200
    assert response["Content-Type"] == "text/event-stream"
    assert response["Cache-Control"] == "no-store"
    stream = aiter(response.streaming_content)
    assert await anext(stream) == b": connected\n\n"
    return stream


async def event(stream: AsyncIterator[bytes]) -> list[tuple[str, dict]]:
    """Return the events of the next batch."""
    async with asyncio.timeout(SECONDS):
        while (batch := await anext(stream)).startswith(b":"):
            pass
    found = []
    for text in batch.decode().strip().split("\n\n"):
        name, data = text.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def ended(stream: AsyncIterator[bytes]) -> bool:
    async with asyncio.timeout(SECONDS):
        async for _rest in stream:
            pass
    return True


async def tell(group: str, **fields):
    await get_channel_layer().group_send(group, {"type": "hint", "group": group, **fields})


async def test_a_hint_becomes_an_event_with_ids_and_versions_only(awake):
    stream = await connect(await sync_to_async(awake.token)("bob"))
    group = broadcast.project_group(awake.harbor.pk)
    await tell(group, kind="vm", id="v", version=4)
    assert await event(stream) == [("vm", {"id": "v", "version": 4})]
    await tell(group, kind="operation", id="o", version=1, vm="v")
    assert await event(stream) == [("operation", {"id": "o", "version": 1, "vm": "v"})]
    await stream.aclose()


async def test_a_closed_stream_gives_everything_back(awake):
    actor = Actor(user=awake.bob, via="token", token_id=(await sync_to_async(_token_of)(awake, "bob")))
    stream = await feed.open_feed(actor)
    await anext(stream)
    assert feed._open[awake.bob.pk] == 1
    await stream.aclose()
    assert feed._open[awake.bob.pk] == 0
    assert not any(get_channel_layer().groups.values())


def _token_of(world, name):
    world.token(name)
    return world.users[name].api_tokens.get().pk


async def test_what_services_broadcast_is_what_the_feed_reads(awake, bells):
    stream = await connect(await sync_to_async(awake.token)("dana"))
    vm = await sync_to_async(awake.vm)(drain=False)
    for bell in bells:
        await bell()
    names = {(name, data["id"]) for name, data in await event(stream)}
    assert ("vm", str(vm.pk)) in names
    await stream.aclose()


async def test_a_stranger_gets_nothing_and_staff_gets_everything(awake):
    stranger = await connect(await sync_to_async(awake.token)("charlie"))
    admin = await connect(await sync_to_async(awake.token)("admin"))
    for group in (broadcast.project_group(awake.harbor.pk), broadcast.STAFF_GROUP):
        await get_channel_layer().group_send(
            group,
            {"type": "hint", "group": broadcast.project_group(awake.harbor.pk), "kind": "vm", "id": "v", "version": 1},
        )
    assert await event(admin) == [("vm", {"id": "v", "version": 1})]
    own = await sync_to_async(lambda: awake.charlie.personal_project.pk)()
    await tell(broadcast.project_group(own), kind="vm", id="mine", version=1)
    assert await event(stranger) == [("vm", {"id": "mine", "version": 1})]
    await stranger.aclose()
    await admin.aclose()


async def test_many_hints_of_one_thing_become_one_event(awake, monkeypatch):
    monkeypatch.setattr(feed, "PAUSE_SECONDS", 0.5)
    stream = await connect(await sync_to_async(awake.token)("alice"))
    group = broadcast.project_group(awake.harbor.pk)
    for version in range(50):
        await tell(group, kind="vm", id="v", version=version)
    last = {}
    while last.get("version") != 49:
        batch = await event(stream)
        assert len(batch) == 1
        last = batch[0][1]
    await stream.aclose()


async def test_a_reader_far_behind_is_told_to_read_everything_again(awake, monkeypatch):
    monkeypatch.setattr(feed, "PENDING_AT_MOST", 10)
    stream = await connect(await sync_to_async(awake.token)("alice"))
    group = broadcast.project_group(awake.harbor.pk)
    for n in range(30):
        await tell(group, kind="vm", id=str(n), version=1)
    names = [name for name, _data in await event(stream)]
    assert names[0] == "missed"
    assert len(names) <= 11
    await stream.aclose()


@pytest.mark.parametrize("ending", ["revoked", "deactivated"])
async def test_a_stream_ends_when_its_owner_is_shut_out_a21(awake, ending):
    stream = await connect(await sync_to_async(awake.token)("bob"))

    def end():
        if ending == "revoked":
            revoke_token(awake.actor("bob"), awake.bob.api_tokens.get().pk)
        else:
            User.objects.filter(pk=awake.bob.pk).update(is_active=False)

    await sync_to_async(end)()
    assert await ended(stream)


async def test_a_session_that_ended_ends_its_stream_a21(awake):
    client = AsyncClient()
    await client.aforce_login(awake.bob)
    response = await client.get("/api/v1/events")
    stream = aiter(response.streaming_content)
    assert await anext(stream) == b": connected\n\n"
    await client.alogout()
    assert await ended(stream)


async def test_hints_stop_with_the_membership(awake):
    stream = await connect(await sync_to_async(awake.token)("bob"))
    await Membership.objects.filter(user=awake.bob, project=awake.harbor).adelete()
    own = await sync_to_async(lambda: broadcast.project_group(awake.bob.personal_project.pk))()
    await tell(broadcast.project_group(awake.harbor.pk), kind="vm", id="v", version=1)
    await tell(own, kind="vm", id="mine", version=1)
    assert await event(stream) == [("vm", {"id": "mine", "version": 1})]
    await stream.aclose()


async def test_a_quiet_stream_beats(awake, monkeypatch):
    monkeypatch.setattr(feed, "HEARTBEAT_SECONDS", 0.05)
    stream = await connect(await sync_to_async(awake.token)("alice"))
    async with asyncio.timeout(SECONDS):
        assert await anext(stream) == b": heartbeat\n\n"
    await stream.aclose()


async def test_too_many_streams_are_refused(awake, settings):
    settings.EVENT_STREAMS_PER_USER = 1
    token = await sync_to_async(awake.token)("alice")
    stream = await connect(token)
    response = await AsyncClient().get("/api/v1/events", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0
    await stream.aclose()


async def test_without_redis_the_answer_is_a_clean_503(awake, monkeypatch):
    async def away(*_args):
        raise ConnectionError

    monkeypatch.setattr(get_channel_layer(), "group_send", away)
    token = await sync_to_async(awake.token)("alice")
    response = await AsyncClient().get("/api/v1/events", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 503
    assert response.json()["code"] == "unavailable"
