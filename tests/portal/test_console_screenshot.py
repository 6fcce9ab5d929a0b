"""Screenshots: web asks the machine's gateway with a signature, keeps the answer for moments, and bothers it rarely."""

import tempfile
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.core import signing

from accounts.refusals import InvalidState, TooMany, Unavailable
from console.gateway import Gateway
from hypervisor import errors
from hypervisor.specs import DomainState
from vms import gateway_auth, gateway_calls, gateway_client

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def vm(world):
    return world.vm()


@pytest.fixture
def wire(world, monkeypatch):
    """Join web's client to the gateway's application; `requests` are those that went over."""
    with tempfile.TemporaryDirectory(prefix="sw-") as short:
        gateway = Gateway(world.hypervisor, Path(short))
        made = SimpleNamespace(gateway=gateway, requests=[], broken=None)

        def carry(request):
            made.requests.append(request)
            if made.broken:
                raise made.broken
            return async_to_sync(ask)(gateway, request)

        client = httpx.Client(transport=httpx.MockTransport(carry))
        monkeypatch.setattr(gateway_calls, "_client", lambda: client)
        yield made
        gateway.blocking.close()


async def ask(gateway, request):
    scope = {
        "type": "http", "method": request.method, "path": request.url.path,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }  # fmt: skip
    said = []

    async def send(message):
        said.append(message)

    await gateway(scope, None, send)
    return httpx.Response(said[0]["status"], headers=said[0]["headers"], content=said[1]["body"])


def get(wire, path, node="node-1", **headers):
    signature = {gateway_auth.HEADER: gateway_auth.sign(node, path)} | headers
    return async_to_sync(ask)(wire.gateway, httpx.Request("GET", f"http://node{path}", headers=signature))


def test_a_picture_comes_from_the_machines_node(world, vm, wire):
    assert gateway_client.screenshot_for(world.alice, vm).startswith(PNG)
    (request,) = wire.requests
    assert str(request.url) == f"http://127.0.0.1:8001/internal/v1/vms/{vm.domain_uuid}/screenshot"


def test_it_is_kept_for_some_seconds(world, vm, wire):
    pictures = {gateway_client.screenshot_for(user, vm) for user in (world.alice, world.bob, world.alice)}
    assert len(pictures) == len(wire.requests) == 1


def test_only_what_is_fetched_counts_against_the_rate_A18(world, vm, wire, settings):
    settings.RATES = settings.RATES | {"screenshot": ((2, 60),)}
    machines = [vm, world.vm("web-2"), world.vm("web-3")]
    for machine in (*machines[:2], *machines[:2], *machines[:2]):
        gateway_client.screenshot_for(world.alice, machine)
    with pytest.raises(TooMany):
        gateway_client.screenshot_for(world.alice, machines[2])
    assert gateway_client.screenshot_for(world.bob, machines[2])


def test_a_machine_that_is_off_has_none_and_is_not_asked_for(world, vm, wire):
    vm.observed_state = "stopped"
    with pytest.raises(InvalidState):
        gateway_client.screenshot_for(world.alice, vm)
    assert wire.requests == []


@pytest.mark.parametrize("happens", ["off", "vanished"])
def test_a_machine_that_went_off_unseen_has_none(world, vm, wire, happens):
    if happens == "off":
        world.hypervisor.happen(vm.domain_uuid, DomainState.STOPPED)
    else:
        world.hypervisor.vanish(vm.domain_uuid)
    with pytest.raises(InvalidState):
        gateway_client.screenshot_for(world.alice, vm)


def test_a_hypervisor_that_is_away_is_said_so(world, vm, wire):
    world.hypervisor.fail_next("screenshot", errors.Unavailable("away"))
    with pytest.raises(Unavailable, match="node-1"):
        gateway_client.screenshot_for(world.alice, vm)
    assert gateway_client.screenshot_for(world.alice, vm), "and asked again the next time"


@pytest.mark.parametrize("trouble", [httpx.ConnectError("refused"), httpx.ReadTimeout("silent")])
def test_a_gateway_that_does_not_answer_is_left_alone_for_a_while_F10(world, vm, wire, trouble):
    wire.broken = trouble
    for _ in range(3):
        with pytest.raises(Unavailable):
            gateway_client.screenshot_for(world.alice, vm)
    assert len(wire.requests) == 1, "only the first had to wait"


# --- the gateway's side -----------------------------------------------------------------------------------------
def test_without_webs_signature_there_is_no_picture_A1(world, vm, wire):
    path = gateway_auth.screenshot_path(vm.domain_uuid)
    other = gateway_auth.screenshot_path(uuid4())
    wrong = [
        "",
        "x",
        gateway_auth.sign("node-2", path),
        gateway_auth.sign("node-1", other),
        signing.dumps(["node-1", path], salt="another"),
        signing.dumps(["node-1", path], salt="slipway.gateway", key="another key"),
    ]
    for signature in wrong:
        assert get(wire, path, **{gateway_auth.HEADER: signature}).status_code == 403, signature
    assert get(wire, path).status_code == 200


def test_a_signature_is_good_for_30_seconds(wire, vm, monkeypatch):
    path = gateway_auth.screenshot_path(vm.domain_uuid)
    now = signing.time.time()
    for age, status in ((29, 200), (31, 403)):
        with monkeypatch.context() as patched:
            patched.setattr(signing.time, "time", lambda age=age: now - age)
            signature = gateway_auth.sign("node-1", path)
        assert get(wire, path, **{gateway_auth.HEADER: signature}).status_code == status


def test_a_domain_that_is_not_there(wire, vm):
    assert get(wire, gateway_auth.screenshot_path(uuid4())).status_code == 404


def test_the_gateway_has_few_doors(wire):
    assert get(wire, "/healthz").json() == {"status": "ok"}
    for path in ("/", "/internal/v1/vms", "/internal/v1/vms/1/screenshot", "/metrics", "/console/vnc/1"):
        assert get(wire, path).status_code == 404, path
    request = httpx.Request("POST", "http://node/healthz")
    assert async_to_sync(ask)(wire.gateway, request).status_code == 405
