"""Error pages: they say what happened and the way out, and need neither database nor login."""

import pytest
from django.contrib.sessions.backends.base import SessionBase
from django.db import InterfaceError, OperationalError, connection
from django.test import AsyncClient, RequestFactory

from portal import errors
from tests.portal.pages import words


@pytest.mark.parametrize("name", ["", "alice"])
def test_a_404_says_that_it_may_be_somebody_elses(world, name):
    answer = world.browser(name).get("/nowhere/")
    assert answer.status_code == 404
    assert "There is no such page, or it is not yours to see" in words(answer)
    assert 'href="/"' in answer.content.decode()


def test_the_address_that_was_asked_for_is_not_repeated(world):
    assert "markup-here" not in world.browser().get("/markup-here/<b>").content.decode()


def test_a_500_names_its_request_and_asks_nothing_of_the_database(db, django_assert_num_queries):
    request = RequestFactory().get("/vms/?q=1")
    request.slipway_id = "abc123def456"
    with django_assert_num_queries(0):
        answer = errors.server_error(request)
    assert answer.status_code == 500
    assert "Your machines keep running" in words(answer)
    assert "abc123def456" in words(answer)
    assert 'href="/vms/?q=1"' in answer.content.decode()


def test_a_broken_view_shows_that_page(world, monkeypatch):
    from vms.views import quotas as broken

    def explode(*args, **kwargs):
        raise RuntimeError("deliberate")

    monkeypatch.setattr(broken, "project_cards", explode)
    browser = world.browser("alice", raise_request_exception=False)
    answer = browser.get("/quotas/")
    assert answer.status_code == 500
    assert answer["X-Request-Id"] in words(answer)
    assert "deliberate" not in answer.content.decode()
    assert connection.is_usable()


AWAY = pytest.mark.parametrize(
    "error", [OperationalError("database is locked"), InterfaceError("connection already closed")], ids=repr
)


@AWAY
def test_a_database_that_is_away_is_a_503_that_passes_F13(world, monkeypatch, error):
    from vms.api import vms as api
    from vms.views import quotas as page

    def away(*args, **kwargs):
        raise error

    monkeypatch.setattr(page, "project_cards", away)
    monkeypatch.setattr(api.services, "request_create", away)
    answer = world.browser("alice", raise_request_exception=False).get("/quotas/")
    assert answer.status_code == 503
    assert "Something we depend on is away" in words(answer)
    assert "look whether it was made before you ask again" in words(answer)
    assert "Nothing was changed" not in words(answer)  # that is not known
    client = world.api("alice")
    client.raise_request_exception = False
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = client.call("POST", "vms", {"name": "x", "image": "micro", "flavor": "nano"}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer["Retry-After"] == "5"


@pytest.mark.django_db
async def test_a_database_that_is_away_under_middleware_is_a_503_too(monkeypatch):
    """As the server runs it: asynchronously, and before any view was asked."""

    def away(self, *args):
        raise OperationalError("connection refused")

    monkeypatch.setattr(SessionBase, "get", away)
    monkeypatch.setattr(SessionBase, "__getitem__", away)
    client = AsyncClient(raise_request_exception=False)
    answer = await client.get("/")
    assert answer.status_code == 503
    assert "your machines keep running" in words(answer)  # the page itself needs no database


def test_a_form_without_its_token_says_what_to_do(world):
    answer = world.browser("alice", enforce_csrf_checks=True).post("/accounts/tokens", {"name": "x"})
    assert answer.status_code == 403
    assert "reload the page, try again" in words(answer)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_page_speaks_the_readers_language(world, language):
    answer = world.browser().get("/nowhere/", headers={"Accept-Language": language})
    assert f'<html lang="{language}"' in answer.content.decode()
