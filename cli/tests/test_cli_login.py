"""Signing in: what is kept, for whom to read, and where a token goes."""

import io
import json
import stat

import httpx
import pytest
from cli_world import TOKEN, URL, problem

ME = {
    "user": {"id": "u", "username": "alice", "email": "", "is_staff": False},
    "projects": [{"id": "p-1", "name": "harbor", "role": "owner", "personal": False, "limits": {}, "usage": {}}],
}


@pytest.fixture
def signed_out(monkeypatch):
    monkeypatch.delenv("SLIPWAY_URL")
    monkeypatch.delenv("SLIPWAY_TOKEN")


@pytest.fixture
def typed(monkeypatch):
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_login_checks_the_token_and_keeps_it_for_its_owner_alone(signed_out, portal, slipway, typed, home):
    portal.on("GET", "me", ME)
    typed("slw_secret\n")
    answer = slipway("login", "--url", "https://portal.example/")
    assert (answer.code, answer.out) == (0, "")
    assert "as alice" in answer.err
    assert portal.asked[0].headers["authorization"] == "Bearer slw_secret"
    file = home / ".config" / "slipway" / "login.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {"url": "https://portal.example", "token": "slw_secret"}
    assert slipway("whoami").out.splitlines()[0].split() == ["user", "alice"]
    assert slipway("logout").code == 0
    assert not file.exists()
    assert slipway("whoami").code == 3


def test_a_token_that_is_not_taken_is_not_kept(signed_out, portal, slipway, typed, home):
    portal.on("GET", "me", problem(401, "not_authenticated", "Sign in first."))
    typed("wrong\n")
    answer = slipway("login", "--url", URL)
    assert answer.code == 3
    assert "Sign in first." in answer.err
    assert not (home / ".config").exists()


def test_a_kept_token_goes_to_no_other_portal(signed_out, portal, slipway, typed, monkeypatch):
    portal.on("GET", "me", ME)
    typed("slw_secret\n")
    slipway("login", "--url", URL)
    portal.asked.clear()
    monkeypatch.setenv("SLIPWAY_URL", "https://elsewhere.example")
    answer = slipway("whoami")
    assert answer.code == 3
    assert "not signed in at https://elsewhere.example" in answer.err
    assert portal.asked == []


def test_the_environment_goes_first(portal, slipway):
    portal.on("GET", "me", ME)
    assert slipway("whoami", "--json").json == ME
    assert str(portal.asked[0].url) == f"{URL}/api/v1/me"
    assert portal.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_token_alone_needs_a_portal(portal, slipway, monkeypatch):
    monkeypatch.delenv("SLIPWAY_URL")
    answer = slipway("whoami")
    assert answer.code == 3
    assert "SLIPWAY_URL" in answer.err


def test_nobody_signed_in_is_told_how(signed_out, slipway):
    answer = slipway("vm", "ls")
    assert answer.code == 3
    assert "slipway login" in answer.err


@pytest.mark.parametrize("url", ["portal.example", "ftp://portal.example", "https://", "https://me:pw@portal.example"])
def test_what_is_no_address_of_a_portal(signed_out, slipway, typed, url):
    typed("token\n")
    assert slipway("login", "--url", url).code == 2


@pytest.mark.parametrize(
    ("url", "warned"), [("http://portal.example", True), ("http://127.0.0.1:8000", False), (URL, False)]
)
def test_a_token_in_clear_over_a_network_is_warned_of(signed_out, portal, slipway, typed, url, warned):
    portal.on("GET", "me", ME)
    typed("token\n")
    assert ("not encrypted" in slipway("login", "--url", url).err) is warned


def test_a_damaged_file_is_a_sentence(signed_out, slipway, home):
    (home / ".config" / "slipway").mkdir(parents=True)
    (home / ".config" / "slipway" / "login.json").write_text("{")
    answer = slipway("whoami")
    assert answer.code == 3
    assert "cannot be read" in answer.err


def test_a_redirect_never_carries_the_token_along(portal, slipway):
    portal.on("GET", "me", httpx.Response(301, headers={"location": "https://other.example/api/v1/me"}))
    answer = slipway("whoami")
    assert answer.code == 5
    assert "other.example" in answer.err
    assert len(portal.asked) == 1
