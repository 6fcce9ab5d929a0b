"""The Origin check of web's own websockets: every route, every wrong Origin (A3)."""

import pytest
from django.conf import settings as django_settings
from django.test import Client

from tests.portal.consoles import ORIGIN, Socket, origins
from tests.portal.test_console_gateway import WRONG_ORIGINS
from vms.routing import websocket_urlpatterns

pytestmark = pytest.mark.django_db(transaction=True)
ROUTES = ["/" + str(route.pattern) for route in websocket_urlpatterns]


@pytest.fixture
def cookie(world, settings):
    settings.PORTAL_ORIGINS = frozenset({ORIGIN})
    client = Client()
    client.force_login(world.alice)
    key = client.cookies[django_settings.SESSION_COOKIE_NAME].value
    return (b"cookie", f"{django_settings.SESSION_COOKIE_NAME}={key}".encode())


def at(route, cookie, *headers):
    from portal.asgi import application

    assert "<" not in route, "give this route's parameters here"
    return Socket(application, route, headers=[*origins(*headers), cookie], protocols=[])


@pytest.mark.parametrize("route", ROUTES)
async def test_a_signed_in_person_on_a_foreign_page_gets_no_websocket_A3(cookie, route):
    passed = [name for name, wrong in WRONG_ORIGINS.items() if await at(route, cookie, *wrong).open()]
    assert passed == []


@pytest.mark.parametrize("route", ROUTES)
async def test_on_our_page_they_do_A3(cookie, route):
    socket = at(route, cookie, ORIGIN)
    await socket._app.send_input({"type": "websocket.connect"})
    assert (await socket._app.receive_output(5))["type"] == "websocket.accept"
    await socket.leave()
