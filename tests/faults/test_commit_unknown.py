"""F13: a COMMIT whose answer is lost, or at which PostgreSQL dies: asked again with its key, the call tells the truth.

A proxy between web and PostgreSQL loses it (commit_cutter.py), so that each round is one of which web cannot know.
"""

import tempfile
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.faults.commit_cutter import CommitCutter
from tests.faults.installation import PATIENCE, installation

pytestmark = pytest.mark.timeout(600)
THE_WORK = b'INSERT INTO "vms_operation"'
ROUNDS = 4


@pytest.fixture(scope="module")
def portal():
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as name:
        Path(name).chmod(0o711)  # the server's user may pass
        with installation(Path(name), postgres=True) as made:
            yield made


@pytest.fixture(scope="module")
def cutter(portal):
    made = CommitCutter(portal.home / "cut", portal.postgres.home / "socket")
    portal.of_node["cut"] = {"DATABASE_URL": made.url}
    portal.start("web@cut")
    portal.wait(lambda: portal._listens("web"), PATIENCE, "web listens")
    yield made
    made.close()


@pytest.fixture
def people(portal, cutter):
    headers = {"Authorization": f"Bearer {portal('token')}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{portal.port}/api/v1/", headers=headers, timeout=60) as client:
        yield client


def ask(people, name):
    """Ask for a machine, always with the same key; None when the connection broke."""
    body = {"name": name, "image": "micro", "flavor": "nano", "project": "harbor"}
    try:
        return people.post("vms", json=body, headers={"Idempotency-Key": f"key-{name}"})
    except httpx.TransportError:
        return None


def journaled(portal, name):
    """Ids of the operations that the database has for this machine."""
    return portal.postgres.sql(f"select id from vms_operation where vm_name = '{name}'").split()


def asked_again(portal, people, name):
    """Return the operation's id that a client gets that asks until it is answered."""

    def answered():
        answer = ask(people, name)
        if answer is None or answer.status_code != 202:
            assert answer is None or answer.status_code in (409, 503), answer.text
            return ""
        return answer.json()["operation"]["id"]

    return portal.wait(answered, 120, "the call that is repeated is answered")


def lost(portal, cutter, people, name, then=lambda: None, when="answered"):
    """Ask, with the answer to the work's COMMIT lost; web has to say that it does not know."""
    before = cutter.cuts
    cutter.arm(THE_WORK, then, when)
    answer = ask(people, name)
    assert cutter.cuts == before + 1
    assert answer is not None
    assert answer.status_code == 503, answer.text


@pytest.mark.short
def test_a_commit_whose_answer_is_lost_happened_once_F13(portal, cutter, people):
    assert ask(people, "warm").status_code == 202
    for number in range(ROUNDS):
        name = f"cut-{number}"
        lost(portal, cutter, people, name)
        [there] = journaled(portal, name)  # though the client was told of an error
        assert asked_again(portal, people, name) == there
        assert journaled(portal, name) == [there]
    assert {row[2] for row in portal.settled()} == {"succeeded"}


@pytest.mark.short
def test_postgresql_dies_when_it_has_committed_F13(portal, cutter, people):
    """Before web hears of it: the row is there when it comes back."""
    lost(portal, cutter, people, "dead", portal.postgres.kill)
    portal.postgres.start()
    [there] = journaled(portal, "dead")
    assert asked_again(portal, people, "dead") == there
    assert journaled(portal, "dead") == [there]
    assert {row[2] for row in portal.settled()} == {"succeeded"}


def test_postgresql_dies_while_it_commits_F13(portal, cutter, people):
    """Killed as soon as the COMMIT was sent to it, or right before: it may have happened or not, and happens once."""
    found = Counter()
    for number in range(ROUNDS):
        name, when = f"either-{number}", ("sent", "before")[number % 2]
        lost(portal, cutter, people, name, portal.postgres.kill, when)
        portal.postgres.start()
        there = journaled(portal, name)
        found["committed" if there else "not committed"] += 1
        told = asked_again(portal, people, name)
        assert journaled(portal, name) == [told]
        assert there in ([], [told])
    print(dict(found))
    assert found["not committed"] >= ROUNDS / 2
    assert {row[2] for row in portal.settled(180)} == {"succeeded"}
