"""The status websocket: who hears of what, and that what is sent was read and allowed at that moment."""

import json

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts.models import Membership
from vms import services
from vms.consumers import HEARD_LATE, MISSED_AT_MOST

pytestmark = pytest.mark.django_db(transaction=True)
QUIET_SECONDS = 0.7  # longer than the pause between two pushes


class Browser:
    """A page's websocket, by the portal's own ASGI application: `await browser.open("row", vm)`."""

    def __init__(self, world, name, bells, language="en"):
        self.client = Client()
        if name:
            self.client.force_login(world.users[name])
        cookies = {key: morsel.value for key, morsel in self.client.cookies.items()}
        cookies[settings.LANGUAGE_COOKIE_NAME] = language
        header = "; ".join(f"{key}={value}" for key, value in cookies.items())
        origin = min(settings.PORTAL_ORIGINS)
        headers = [(b"cookie", header.encode()), (b"origin", origin.encode()), (b"host", b"localhost")]
        from portal.asgi import application

        self.socket = WebsocketCommunicator(application, "/ws/status", headers=headers)
        self.bells = bells

    async def open(self, kind="hint", *vms, **wish):
        connected, _subprotocol = await self.socket.connect()
        assert connected
        first = await self.socket.receive_output()
        if first["type"] == "websocket.close":
            return first["code"]
        assert json.loads(first["text"])["type"] == "hello"
        await self.socket.send_json_to({"kind": kind, "shown": {str(vm.pk): 0 for vm in vms}, **wish})
        for _vm in vms:  # a page that is behind is brought up to date: the server has heard what it shows
            await self.socket.receive_from(timeout=5)
        return None

    async def hear(self):
        """Ring the noted bells, then return the next message."""
        await ring(self.bells)
        return json.loads(await self.socket.receive_from(timeout=5))

    async def hears_nothing(self):
        await ring(self.bells)
        return await self.socket.receive_nothing(timeout=QUIET_SECONDS)

    async def close(self):
        await self.socket.disconnect()


async def ring(bells):
    """Sound the hints among the noted bells; a doorbell of a worker would need Redis."""
    waiting, bells[:] = list(bells), []
    for bell in waiting:
        if "hint" in bell.__qualname__:
            await bell()


@pytest.fixture
def push(world, bells):
    """Run an async scenario: push(scenario, vm). Bells of making the world are forgotten first."""

    def run(scenario, *args):
        bells.clear()
        return async_to_sync(scenario)(*args)

    return run


def stop(world, vm):
    return sync_to_async(services.request_stop)(world.actor("alice"), vm.pk)


def test_a_change_brings_the_row_rendered_for_this_reader(world, bells, push):
    vm = world.vm()
    alice, dana = Browser(world, "alice", bells), Browser(world, "dana", bells)

    async def scenario():
        await alice.open("row", vm)
        await dana.open("row", vm)
        await stop(world, vm)
        return await alice.hear(), json.loads(await dana.socket.receive_from(timeout=5))

    mine, hers = push(scenario)
    assert mine["type"] == hers["type"] == "fragment"
    assert mine["target"] == f"row-{vm.pk}"
    assert "Force off" in mine["html"]
    assert "Force off" not in hers["html"]
    assert "sw-mini" in hers["html"]


def test_a_stranger_hears_nothing(world, bells, push):
    vm = world.vm()
    charlie = Browser(world, "charlie", bells)

    async def scenario():
        await charlie.open("row", vm)
        await stop(world, vm)
        return await charlie.hears_nothing()

    assert push(scenario)


def test_someone_removed_from_the_project_gets_no_content_any_more(world, bells, push):
    vm = world.vm()
    bob = Browser(world, "bob", bells)

    async def scenario():
        await bob.open("row", vm)
        await sync_to_async(Membership.objects.filter(user=world.bob, project=world.harbor).delete)()
        await stop(world, vm)
        return await bob.hear()

    message = push(scenario)
    assert message["type"] == "gone"
    assert "html" not in message


def test_the_page_of_an_operation_follows_it_and_its_machine(world, bells, push):
    vm = world.vm()
    _vm, operation = services.request_stop(world.actor("alice"), vm.pk)
    dana, charlie = Browser(world, "dana", bells), Browser(world, "charlie", bells)

    async def scenario():
        wish = {"operation": str(operation.pk)}
        await dana.open("operation", vm, **wish)
        await charlie.open("operation", vm, **wish)
        await sync_to_async(world.drain)()
        return await dana.hear(), await charlie.hears_nothing()

    message, nothing = push(scenario)
    assert message["target"] == f"operation-{operation.pk}"
    assert "Stopped: web-1" in message["html"]
    assert nothing


def test_no_session_no_push(world, bells, push):
    async def scenario(name):
        return await Browser(world, name, bells).open()

    assert push(scenario, "") == 4401


def test_signing_out_ends_the_push(world, bells, push):
    vm = world.vm()
    alice = Browser(world, "alice", bells)

    async def scenario():
        await alice.open("row", vm)
        await sync_to_async(alice.client.logout)()
        await stop(world, vm)
        await ring(bells)
        return await alice.socket.receive_output(timeout=5)

    assert push(scenario)["code"] == 4401


def test_many_hints_are_one_swap(world, bells, push):
    vm = world.vm()
    alice = Browser(world, "alice", bells)

    async def scenario():
        await alice.open("row", vm)
        layer = get_channel_layer()
        group = f"project.{world.harbor.pk.hex}"
        for version in range(50):
            await layer.group_send(group, {"type": "hint", "kind": "vm", "id": str(vm.pk), "version": version})
        messages = [json.loads(await alice.socket.receive_from(timeout=5))]
        while not await alice.socket.receive_nothing(timeout=QUIET_SECONDS):
            messages.append(json.loads(await alice.socket.receive_from(timeout=5)))
        return messages

    assert len(push(scenario)) <= 2


def test_a_machine_that_the_page_does_not_show_makes_it_read_again(world, bells, push):
    alice = Browser(world, "alice", bells)
    vm = world.vm()

    async def scenario():
        await alice.open("row")
        await stop(world, vm)
        return await alice.hear()

    assert push(scenario)["type"] == "changed"


def test_however_many_machines_a_page_does_not_show_it_is_told_once_F24(world, bells, push):
    shown, others = world.vm(), [world.vm(name=f"other-{number}") for number in range(4)]
    alice = Browser(world, "alice", bells)

    async def scenario():
        await alice.open("row", shown)
        layer, group = get_channel_layer(), f"project.{world.harbor.pk.hex}"
        for vm in (shown, *others):
            await layer.group_send(group, {"type": "hint", "kind": "vm", "id": str(vm.pk), "version": 1})
        messages = [json.loads(await alice.socket.receive_from(timeout=5))]
        while not await alice.socket.receive_nothing(timeout=QUIET_SECONDS):
            messages.append(json.loads(await alice.socket.receive_from(timeout=5)))
        return [message["type"] for message in messages]

    heard = push(scenario)
    assert heard.count("fragment") in (1, 2)
    assert heard.count("changed") in (1, 2)  # the first hint may be answered alone


def test_the_end_of_ones_own_operation_is_said_in_ones_own_language(world, bells, push):
    vm = world.vm()
    alice, bob = Browser(world, "alice", bells), Browser(world, "bob", bells)

    async def scenario():
        await alice.open("machine", vm)
        await bob.open("machine", vm)
        await stop(world, vm)
        await sync_to_async(world.drain)()
        await ring(bells)
        heard = {"alice": [], "bob": []}
        for name, browser in (("alice", alice), ("bob", bob)):
            while not await browser.socket.receive_nothing(timeout=QUIET_SECONDS):
                heard[name].append(json.loads(await browser.socket.receive_from(timeout=5)))
        return heard

    heard = push(scenario)
    sentences = {name: [m["text"] for m in messages if m["type"] == "say"] for name, messages in heard.items()}
    assert sentences == {"alice": ["web-1 is off."], "bob": []}
    assert any(message["type"] == "fragment" and "Stopped" in message["html"] for message in heard["bob"])


def test_what_ended_between_a_page_and_its_socket_is_said_all_the_same(world, bells, push):
    vm = world.vm()

    async def scenario(browser, since):
        await browser.open("machine", vm, since=since)
        texts = []
        while not await browser.socket.receive_nothing(timeout=QUIET_SECONDS):
            texts.append(json.loads(await browser.socket.receive_from(timeout=5)).get("text"))
        await browser.close()
        return [text for text in texts if text]

    def said(name, since):
        return push(scenario, Browser(world, name, bells), since)

    before = timezone.now().isoformat(timespec="milliseconds")
    services.request_stop(world.actor("alice"), vm.pk)
    world.drain()
    vm.operations.filter(kind="create").update(finished_at=timezone.now() - 2 * MISSED_AT_MOST)
    assert said("alice", before) == ["web-1 is off."]
    assert said("alice", "2000-01-01T00:00:00Z") == ["web-1 is off."]  # a create of long ago is no news
    assert said("bob", before) == []  # whose operation it was not
    vm.operations.filter(kind="stop").update(finished_at=timezone.now() - 2 * HEARD_LATE)
    for later in (
        timezone.now().isoformat(),
        "9999-12-31T23:59:59-23:59",
        None,
        "2026-99-99T00:00:00Z",
        "2026-01-01",
        7,
        {},
    ):
        assert said("alice", later) == []


def test_an_end_is_said_once_and_on_any_page(world, bells, push):
    vm = world.vm()
    alice = Browser(world, "alice", bells)

    async def scenario():
        before = timezone.now().isoformat(timespec="milliseconds")
        await sync_to_async(services.request_delete)(world.actor("alice"), vm.pk)
        await sync_to_async(world.drain)()
        await alice.open(since=before)  # a list, where the machine is no more
        texts = [json.loads(await alice.socket.receive_from(timeout=5)).get("text") for _ in range(2)]
        await ring(bells)  # the same ends, from the channel layer
        while not await alice.socket.receive_nothing(timeout=QUIET_SECONDS):
            texts.append(json.loads(await alice.socket.receive_from(timeout=5)).get("text"))
        return [text for text in texts if text]

    assert push(scenario) == ["web-1 is ready.", "web-1 is gone."]  # it was made within the second before


@pytest.mark.parametrize("rubbish", ["not json", "[1, 2]", '{"kind": 7, "ids": {"a": 1}}', "x" * 20000, "[" * 16000])
def test_rubbish_changes_nothing_or_ends_the_connection(world, bells, push, rubbish):
    alice = Browser(world, "alice", bells)

    async def scenario():
        await alice.open()
        await alice.socket.send_to(text_data=rubbish)
        if await alice.socket.receive_nothing(timeout=0.2):
            await alice.socket.disconnect()
            return None
        return await alice.socket.receive_output(timeout=5)

    ended = push(scenario)
    assert ended is None or (ended["type"] == "websocket.close" and ended["code"] in (1003, 1009))
