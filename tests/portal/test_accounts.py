"""People and projects: what holds however an account came to be, and what an owner may and may not do."""

import pytest
from django.core.management import call_command

from accounts import services
from accounts.access import Verb, allows
from accounts.actor import Actor
from accounts.dimensions import Dimension
from accounts.models import ApiToken, Membership, Project, User
from accounts.refusals import BadInput, Forbidden, NotVisible


def test_everyone_has_a_personal_project_however_they_came(db, monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a long enough one")
    call_command("createsuperuser", "--no-input", username="root.user", email="root@test.invalid", verbosity=0)
    user = User.objects.get(username="root.user")
    assert user.personal_project.name == "root-user"
    assert user.personal_project.quota_limits.count() == len(Dimension)
    assert Membership.objects.get(user=user).role == "owner"


def test_names_that_collide_as_slugs_get_projects_of_their_own(db):
    names = [
        services.create_user(Actor.system(), name, "x" * 12).personal_project.name for name in ("a.b", "a_b", "A-b")
    ]
    assert names == ["a-b", "a-b-2", "a-b-3"]


def test_a_taken_name_is_refused_and_leaves_nothing(world):
    before = Project.objects.count()
    with pytest.raises(BadInput):
        services.create_user(Actor.system(), "alice", "x" * 12)
    assert Project.objects.count() == before


@pytest.mark.parametrize("act", [services.set_membership, services.remove_membership])
def test_a_project_keeps_an_owner(world, act):
    arguments = ("alice", "member") if act is services.set_membership else (world.alice.pk,)
    with pytest.raises(Forbidden):
        act(world.actor("alice"), world.harbor, *arguments)
    services.set_membership(world.actor("alice"), world.harbor, "bob", "owner")
    act(world.actor("bob"), world.harbor, *arguments)


@pytest.mark.parametrize(("who", "refusal"), [("bob", Forbidden), ("dana", Forbidden), ("charlie", NotVisible)])
def test_only_owners_manage_members(world, who, refusal):
    with pytest.raises(refusal):
        services.set_membership(world.actor(who), world.harbor, "charlie", "member")


def test_staff_see_and_power_everything_and_open_no_console():
    assert [verb for verb in Verb if allows(None, verb, is_staff=True)] == [Verb.SEE, Verb.CHANGE, Verb.MANAGE]
    assert [verb for verb in Verb if allows(None, verb)] == []


def test_a_token_is_a_hash_and_dies_with_its_user_A21(world):
    token, secret = services.issue_token(world.actor("alice"), "laptop")
    assert secret not in str(ApiToken.objects.values())
    assert services.authenticate_token(secret) == token
    services.deactivate_user(world.actor("admin"), world.alice)
    assert services.authenticate_token(secret) is None
    services.reactivate_user(world.actor("admin"), world.alice)
    assert services.authenticate_token(secret) is None
