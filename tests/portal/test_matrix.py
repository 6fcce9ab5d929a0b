"""Every address x every role, as `matrix.py` says: A4. What is refused changes nothing, and 404s tell nothing."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.db import transaction
from django.db.models.functions import Now
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from PIL import Image

from portal.api import api
from sandboxes.models import Sandbox, Template, TemplateBuild
from sandboxes.services import NewTemplate, request_pause, request_template
from sandboxes.sweeps import end_leases
from tests.portal.lab import Lab, make_lab, stub_gateway
from tests.portal.matrix import LINES, QUERIES, ROLES, USES, Line
from tests.portal.world import World
from vms import gateway_client, services
from vms.models import Operation, VirtualMachine
from vms.states import LIVE

IDS = (
    "vm_id", "operation_id", "project_id", "node_id", "user_id", "token_id", "template_id", "build_id", "run_id",
)  # fmt: skip
WATCHED = [model for app in ("accounts", "vms", "sandboxes") for model in apps.get_app_config(app).get_models()]
SAYS_WHEN_OR_WHICH = re.compile(r'nonce="[^"]*"|name="csrfmiddlewaretoken" value="[^"]*"|data-now="[^"]*"')


def patterns(resolver: URLResolver, namespace: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Yield every URL pattern with its full name."""
    for found in resolver.url_patterns:
        if isinstance(found, URLResolver):
            inner = f"{namespace}{found.namespace}:" if found.namespace else namespace
            yield from patterns(found, inner)
        else:
            yield f"{namespace}{found.name}", found


def calls_of_the_api() -> set[tuple[str, str]]:
    """Return (method, name) of every API call."""
    return {
        (method, f"api:{operation.view_func.__name__}")
        for router in api._get_bound_routers()
        for view in router.path_operations.values()
        for operation in view.operations
        for method in operation.methods
    }


def test_every_address_has_a_line_a4():
    names = {name for name, _pattern in patterns(get_resolver())}
    lines = {line.name for line in LINES}
    assert names - lines == set(), "new addresses: say in tests/portal/matrix.py who gets what there"
    assert lines - names == set(), "lines without an address"
    said = {(line.method, line.name) for line in LINES}
    assert calls_of_the_api() <= said
    assert len(said) == len(LINES), "two lines for the same method and address"


# --- what the lines speak of --------------------------------------------------------------------------------
def machine(world: World, state: str) -> VirtualMachine:
    """Return a machine of alice's in harbor, in this state."""
    vm = world.vm(state, drain=state in ("running", "paused", "stopped"), start=state != "stopped")
    if state == "failed":
        services.request_cancel(world.actor("alice"), vm.operations.get().pk)
    if state == "paused":
        services.request_pause(world.actor("alice"), vm.pk)
        world.drain()
    return VirtualMachine.objects.get(pk=vm.pk)


def lab_of(world: World) -> Lab:
    return Lab(world, Template.objects.get(name="micro"))


def template(world: World) -> Template:
    """Return a template of the project harbor."""
    new = NewTemplate(name="harbors", image="micro", flavor="nano", project="harbor")
    return request_template(world.actor("alice"), new)


def sandbox(world: World, what: str) -> Sandbox:
    """Return a sandbox of alice's in harbor: running, paused by her, or at the end of its lease."""
    lab = lab_of(world)
    found = lab.sandbox()
    if what == "sandbox paused":
        request_pause(world.actor("alice"), found.vm_id)
    elif what == "sandbox ended":
        Sandbox.objects.update(expires_at=Now() - timedelta(seconds=1))
        end_leases()
    world.drain()
    return lab.again(found)


def thing(world: World, key: str, what: str) -> Any:
    """Return what stands in the address under this keyword."""
    match key:
        case "vm_id":
            return sandbox(world, what).vm_id if what.startswith("sandbox") else machine(world, what).pk
        case "template_id":
            return template(world).pk
        case "build_id":
            found = lab_of(world).prepared(template(world))
            TemplateBuild.objects.filter(pk=found.pk).update(screenshot=b"picture")
            return found.pk
        case "run_id":
            return lab_of(world).run(sandbox(world, "sandbox")).pk
        case "operation_id":
            return Operation.objects.get(vm=machine(world, what), status__in=LIVE).pk
        case "project_id":
            return world.harbor.pk
        case "node_id":
            return world.node.pk
        case "user_id":
            return world.users[what].pk
        case "token_id":
            name = what.removeprefix("token of ")
            world.token(name)
            return world.users[name].api_tokens.get().pk
    return what


def body_of(world: World, line: Line) -> Any:
    """Return the line's body; `<running>` in it is the id of such a machine."""
    if not isinstance(line.body, dict):
        return line.body
    return {
        key: str(machine(world, value[1:-1]).pk) if isinstance(value, str) and value.startswith("<") else value
        for key, value in line.body.items()
    }


def ask(world: World, role: str, method: str, line: Line, things: dict[str, Any], body: Any) -> Any:
    """Call the line's address as this role; pages are asked by script, which gets statuses and not redirects."""
    client = world.browser("" if role == "anonymous" else role)
    url = reverse(line.name, kwargs=things) + QUERIES.get(line.name, "")
    if line.name.startswith("api:"):
        return client.call(method, url.removeprefix("/api/v1/"), body)
    headers = {"X-Slipway-Script": "1"} if method == "POST" else {}
    return getattr(client, method.lower())(url, body or {}, headers=headers)


@contextmanager
def undone() -> Iterator[None]:
    """Take back what happens in the block."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def everything(world: World) -> dict[str, Any]:
    """Return all rows that a refused call must not touch, and what the hypervisor was asked to do."""
    rows: dict[str, Any] = {m._meta.label_lower: list(m._base_manager.order_by("pk").values()) for m in WATCHED}
    for user in rows["accounts.user"]:
        del user["last_login"]  # signing in for the call itself
    return rows | {"hypervisor": world.hypervisor.calls}


def told(response: Any) -> tuple[int, str, str]:
    """Return what an answer says, without what differs between any two answers."""
    text = response.content.decode().replace(response["X-Request-Id"], "")
    return response.status_code, response["Content-Type"], SAYS_WHEN_OR_WHICH.sub("", text)


@pytest.fixture
def stage(world, settings, monkeypatch):
    settings.REDIS_URL = "unix:///nonexistent/redis.sock"
    picture = io.BytesIO()
    Image.new("RGB", (720, 400)).save(picture, "PNG")
    monkeypatch.setattr(gateway_client, "_fetch", lambda node, path: picture.getvalue())
    make_lab(world)
    stub_gateway(monkeypatch)
    return world


@pytest.mark.parametrize("line", LINES, ids=str)
def test_each_role_gets_what_the_table_says_a4(stage, line):
    things = {key: thing(stage, key, what) for key, what in line.things.items()}
    body = body_of(stage, line)
    before = everything(stage)
    got = []
    for role, expected in zip(ROLES, line.answers, strict=True):
        with undone():
            response = ask(stage, role, line.method, line, things, body)
            got.append(response.status_code)
            looks = line.method == "GET" and line.name not in USES
            if response.status_code >= 400 or role == "anonymous" or looks:
                assert everything(stage) == before, f"{role} changed something"
            if expected == 404:
                _like_a_random_id(stage, role, line, things, body, response)
    assert tuple(got) == line.answers


def _like_a_random_id(world: World, role: str, line: Line, things: dict[str, Any], body: Any, response: Any) -> None:
    for key in things.keys() & set(IDS):
        other = ask(world, role, line.method, line, things | {key: uuid4()}, body)
        assert told(other) == told(response), f"{role} can tell a foreign {key} from one that does not exist"


READ_ONLY = [
    line
    for line in LINES
    if not line.name.startswith("api:") and [one.method for one in LINES if one.name == line.name] == ["GET"]
]


@pytest.mark.parametrize("line", READ_ONLY, ids=str)
def test_a_page_that_is_looked_at_changes_nothing_by_post(stage, line):
    things = {key: thing(stage, key, what) for key, what in line.things.items()}
    before = everything(stage)
    for role in ROLES:
        with undone():
            ask(stage, role, "POST", line, things, {})
            assert everything(stage) == before


ONLY_POST = [
    line
    for line in LINES
    if not line.name.startswith("api:") and [one.method for one in LINES if one.name == line.name] == ["POST"]
]


@pytest.mark.parametrize("line", ONLY_POST, ids=str)
def test_what_acts_does_not_act_on_get(stage, line):
    things = {key: thing(stage, key, what) for key, what in line.things.items()}
    before = everything(stage)
    for role in ROLES:
        with undone():
            assert ask(stage, role, "GET", line, things, None).status_code in (302, 405)
            assert everything(stage) == before


@pytest.mark.parametrize("name", ["vms:bulk", "vms:power"])
def test_a_verb_that_is_none_is_nowhere(stage, name):
    vm = machine(stage, "running")
    things = {"verb": "explode"} | ({"vm_id": vm.pk} if name == "vms:power" else {})
    assert stage.browser("alice").post(reverse(name, kwargs=things), {"vm": str(vm.pk)}).status_code == 404


@pytest.mark.parametrize("name", sorted({name for _method, name in calls_of_the_api()}))
def test_the_api_takes_no_session_without_its_csrf_token_a22(world, name):
    [line, *_rest] = [line for line in LINES if line.name == name]
    client = world.browser("admin", enforce_csrf_checks=True)
    url = reverse(name, kwargs={key: uuid4() if key in IDS else what for key, what in line.things.items()})
    for method, called in calls_of_the_api():
        if called == name and method != "GET":
            response = client.call(method, url.removeprefix("/api/v1/"), {})
            assert (response.status_code, response.json()["code"]) == (403, "csrf")


@pytest.mark.parametrize("name", sorted({line.name for line in LINES if not line.name.startswith("api:")}))
def test_no_page_takes_a_post_without_its_csrf_token_a22(world, name):
    [line, *_rest] = [line for line in LINES if line.name == name]
    url = reverse(name, kwargs={key: uuid4() if key in IDS else what for key, what in line.things.items()})
    for role in ("", "admin"):
        assert world.browser(role, enforce_csrf_checks=True).post(url, {}).status_code == 403
