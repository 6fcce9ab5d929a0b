"""What Tab offers, asked as the shell asks: by the environment of a completion script, through the whole command."""

import httpx
import pytest
from cli_world import problem, vm


@pytest.fixture
def tab(slipway, monkeypatch):
    """Return what is offered for a line of words; the last one is what was typed of the word at the cursor."""

    def press(line):
        words = line.split(" ")
        monkeypatch.setenv("_SLIPWAY_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        answer = slipway()
        assert (answer.code, answer.err) == (0, "")
        return answer.out.split()

    return press


@pytest.fixture(autouse=True)
def harbor(portal):
    portal.items("sandboxes", vm("box-1"), vm("box-2"), vm("lab"))
    portal.items("vms", vm("web-1"))
    portal.items("templates", {"name": "micro"}, {"name": "debian-12"})
    portal.items("images", {"name": "micro"})
    portal.items("flavors", {"name": "nano"}, {"name": "small"})
    portal.on("GET", "me", {"projects": [{"name": "harbor"}, {"name": "alice"}]})
    return portal


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("slipway sandbox re", ["reset", "resume", "restore"]),
        ("slipway tem", ["template"]),
        ("slipway sandbox reset bo", ["box-1", "box-2"]),
        ("slipway sandbox exec la", ["lab"]),
        ("slipway sandbox new mi", ["micro"]),
        ("slipway run deb", ["debian-12"]),
        ("slipway vm stop we", ["web-1"]),
        ("slipway vm create x --flavor sm", ["small"]),
        ("slipway vm create x --image mi", ["micro"]),
        ("slipway vm ls --project ha", ["harbor"]),
        ("slipway sandbox ls --js", ["--json"]),
    ],
)
def test_commands_options_and_names_are_offered(tab, line, offered):
    assert sorted(tab(line)) == sorted(offered)


def test_names_are_asked_for_as_the_one_who_is_signed_in(tab, harbor):
    assert tab("slipway sandbox rm box-2") == ["box-2"]
    [request] = harbor.asked
    assert (request.method, request.url.path) == ("GET", "/api/v1/sandboxes")
    assert request.headers["authorization"].startswith("Bearer slw_")


@pytest.mark.parametrize(
    "answer",
    [httpx.ConnectError("away"), problem(401, "not_authenticated", "Sign in first."), problem(503, "away", "")],
)
def test_where_the_portal_does_not_answer_nothing_is_offered_and_nothing_is_said(tab, harbor, answer):
    harbor.on("GET", "sandboxes", answer)
    assert tab("slipway sandbox reset bo") == []


def test_without_a_login_nothing_is_offered_and_nothing_is_said(tab, monkeypatch):
    monkeypatch.delenv("SLIPWAY_TOKEN")
    assert tab("slipway sandbox reset bo") == []
