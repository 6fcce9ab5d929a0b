"""Signing in and up, passwords, tokens and members, as people meet them in pages."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiToken, AuditEntry, Membership, User
from accounts.services import authenticate_token, session_is_live
from tests.portal.pages import SCRIPT, copied, field, said, words
from tests.portal.world import PASSWORD

LOGIN = {"username": "alice", "password": PASSWORD}


def project_page(world):
    return reverse("accounts:project", args=[world.harbor.pk])


def test_signing_in_leads_to_where_one_wanted_to_go(world):
    browser = world.browser()
    asked = browser.get(reverse("vms:list"))
    assert asked.url == f"{reverse('accounts:login')}?next={reverse('vms:list')}"
    assert browser.post(asked.url, LOGIN | {"next": reverse("vms:list")}).url == reverse("vms:list")


def test_signing_in_leads_to_no_foreign_place(world):
    answer = world.browser().post(reverse("accounts:login"), LOGIN | {"next": "https://evil.example/"})
    assert answer.url == reverse("home")


@pytest.mark.parametrize("wrong", [{"password": "no"}, {"username": "nobody"}, {"username": "ALICE"}])
def test_a_wrong_sign_in_does_not_say_what_was_wrong(world, wrong):
    answer = world.browser().post(reverse("accounts:login"), LOGIN | wrong)
    assert answer.status_code == 422
    assert "Name and password do not match" in words(answer)
    assert field(answer, "username") == (LOGIN | wrong)["username"]
    assert field(answer, "password") == ""


def test_people_who_are_shut_out_cannot_sign_in(world):
    User.objects.filter(username="alice").update(is_active=False)
    assert "do not match" in words(world.browser().post(reverse("accounts:login"), LOGIN))


def test_ten_wrong_passwords_make_a_pause_even_for_the_right_one(world):
    browser = world.browser()
    for _try in range(10):
        answer = browser.post(reverse("accounts:login"), LOGIN | {"password": "no"})
    assert answer.status_code == 429
    assert "15 minutes" in words(answer)
    assert browser.post(reverse("accounts:login"), LOGIN).status_code == 429


def test_signing_out_takes_a_post(world):
    browser = world.browser("alice")
    assert browser.get(reverse("accounts:logout")).status_code == 405
    assert browser.post(reverse("accounts:logout")).url == reverse("accounts:login")
    assert browser.get(reverse("home")).status_code == 302


def test_signing_up_is_a_switch(world, settings):
    page, new = reverse("accounts:signup"), {"username": "erin", "email": "", "password": "long-enough-to-keep"}
    assert world.browser().post(page, new).status_code == 404
    settings.SIGNUP = True
    browser = world.browser()
    assert browser.post(page, new).url == reverse("home")
    erin = User.objects.get(username="erin")
    assert (erin.is_staff, erin.personal_project.name) == (False, "erin")
    assert "erin" in words(browser.get(reverse("accounts:projects")))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"username": "alice"}, "This name is taken."),
        ({"username": "no blanks"}, "Enter a valid username"),
        ({"password": "short"}, "at least 10 characters"),
        ({"username": "erin-the-first", "password": "erin-the-first"}, "too similar"),
        ({"username": "alice\x00"}, "Null characters are not allowed"),
    ],
)
def test_a_bad_sign_up_keeps_what_was_typed_but_the_password(world, settings, wrong, sentence):
    settings.SIGNUP = True
    new = {"username": "erin", "email": "erin@test.invalid", "password": "long-enough-to-keep"} | wrong
    answer = world.browser().post(reverse("accounts:signup"), new)
    assert (answer.status_code, sentence in words(answer)) == (422, True)
    assert (field(answer, "email"), field(answer, "password")) == ("erin@test.invalid", "")
    assert User.objects.count() == 5


def test_a_new_password_ends_the_other_logins_only(world):
    here, there = world.browser("alice"), world.browser("alice")
    other = there.session.session_key
    new = "another-long-password"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert here.post(reverse("accounts:password"), form).status_code == 302
    assert here.get(reverse("home")).status_code == 200
    assert there.get(reverse("home")).status_code == 302
    assert session_is_live(here.session.session_key, world.alice.pk)
    assert not session_is_live(other, world.alice.pk)
    assert AuditEntry.objects.filter(action="user.password", actor=world.alice).count() == 1


def test_a_refused_password_changes_nothing(world):
    form = {"old_password": "wrong", "new_password1": "abc", "new_password2": "abd"}
    answer = world.browser("alice").post(reverse("accounts:password"), form)
    assert answer.status_code == 422
    assert world.browser().post(reverse("accounts:login"), LOGIN).status_code == 302


def test_shortcuts_can_be_switched_off(world):
    browser = world.browser("alice")
    assert 'data-keys="on"' in browser.get(reverse("home")).content.decode()
    browser.post(reverse("accounts:preferences"), {"next": reverse("vms:list")})
    assert 'data-keys="off"' in browser.get(reverse("home")).content.decode()


def test_a_token_is_shown_once_and_works(world):
    browser, page = world.browser("alice"), reverse("accounts:tokens")
    made = browser.post(page, {"name": "ci-deploy", "scope": "write", "lifetime": "30"})
    secret = copied(made, "secret")
    assert made["Cache-Control"].startswith("max-age=0")
    assert authenticate_token(secret).user == world.alice
    token = ApiToken.objects.get(user=world.alice)
    assert abs(token.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    again = browser.get(page).content.decode()
    assert "ci-deploy" in again
    assert secret not in again


def test_a_token_form_that_is_wrong_keeps_what_was_typed(world):
    answer = world.browser("alice").post(
        reverse("accounts:tokens"), {"name": "", "scope": "everything", "lifetime": "90"}
    )
    assert answer.status_code == 422
    assert "2 fields need another look" in words(answer)
    assert not ApiToken.objects.exists()


def test_a_token_is_revoked_by_its_owner_alone(world):
    secret = world.token("bob")
    page = reverse("accounts:revoke", args=[world.bob.api_tokens.get().pk])
    assert world.browser("alice").post(page).status_code == 404
    assert world.browser("admin").post(page).status_code == 404
    assert authenticate_token(secret)
    assert world.browser("bob").post(page, headers=SCRIPT).json() == {"go": reverse("accounts:tokens")}
    assert authenticate_token(secret) is None
    assert world.browser("bob").post(page).status_code == 404


def test_an_owner_adds_changes_and_removes_members(world):
    alice = world.browser("alice")
    answer = alice.post(project_page(world), {"username": "charlie", "role": "viewer"})
    assert (answer.url, said(answer)) == (project_page(world), ["charlie is now viewer of harbor."])
    charlie = [world.harbor.pk, world.charlie.pk]
    alice.post(reverse("accounts:set-role", args=charlie), {"role": "member"})
    assert Membership.objects.get(project=world.harbor, user=world.charlie).role == "member"
    alice.post(reverse("accounts:remove-member", args=charlie))
    assert not Membership.objects.filter(project=world.harbor, user=world.charlie).exists()


def test_somebody_who_is_not_there_is_not_added(world):
    answer = world.browser("alice").post(project_page(world), {"username": "nobody", "role": "viewer"})
    assert (answer.status_code, field(answer, "username")) == (422, "nobody")
    assert "Nobody of that name has an account here." in words(answer)


def test_the_last_owner_stays_one(world):
    alice = world.browser("alice")
    me = [world.harbor.pk, world.alice.pk]
    answer = alice.post(reverse("accounts:set-role", args=me), {"role": "viewer"}, headers=SCRIPT)
    assert (answer.status_code, answer.json()["kind"]) == (403, "bad")
    assert alice.post(reverse("accounts:remove-member", args=me)).status_code == 403
    assert Membership.objects.get(project=world.harbor, user=world.alice).role == "owner"


def test_an_owner_who_leaves_is_not_sent_to_what_they_cannot_see(world):
    Membership.objects.filter(project=world.harbor, user=world.bob).update(role="owner")
    me = [world.harbor.pk, world.alice.pk]
    assert world.browser("alice").post(reverse("accounts:remove-member", args=me)).url == reverse("accounts:projects")


@pytest.mark.parametrize(("name", "offered"), [("alice", True), ("bob", False), ("dana", False), ("admin", True)])
def test_only_who_may_manage_is_offered_to(world, name, offered):
    page = world.browser(name).get(project_page(world)).content.decode()
    for part in ("/role", "/remove", "Add a member"):
        assert (part in page) is offered, part


def test_the_personal_project_keeps_its_person(world):
    mine = world.alice.personal_project
    page = reverse("accounts:remove-member", args=[mine.pk, world.alice.pk])
    assert world.browser("admin").post(page).status_code == 403
