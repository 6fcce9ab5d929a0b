"""Error pages: they say what happened and the way out, and need neither database nor login."""

import pytest
from django.db import connection
from django.test import RequestFactory

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


def test_a_form_without_its_token_says_what_to_do(world):
    answer = world.browser("alice", enforce_csrf_checks=True).post("/accounts/tokens", {"name": "x"})
    assert answer.status_code == 403
    assert "reload the page, try again" in words(answer)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_page_speaks_the_readers_language(world, language):
    answer = world.browser().get("/nowhere/", headers={"Accept-Language": language})
    assert f'<html lang="{language}"' in answer.content.decode()
