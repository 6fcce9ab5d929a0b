"""What people type: what is accepted, and that the rest is refused with a sentence."""

import time

import pytest

from vms import wellformed

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBvJ3xGO0kRJ9RtNZ2gYQkVqz7zVZcVjY1m3Q3c1mOqk alice@desk"


def errors_of(check, *args):
    errors: wellformed.Errors = {}
    check(*args, errors)
    return errors


@pytest.mark.parametrize("name", ["a", "web", "web-1", "a" * 63, "x0-9z"])
def test_host_names_are_good_names(name):
    assert errors_of(wellformed.check_name, name) == {}


@pytest.mark.parametrize(
    "name",
    [
        "", "Web", "1web", "-web", "web-", "web_1", "web.1", "a" * 64, "../etc", "web\n", "web\x00", "w b", "wéb", "🐳",
        "<b>web</b>", "]]>", "web;rm -rf", "${IFS}", "a\u202eb", "web\r",
    ],
)  # fmt: skip
def test_other_names_are_refused_with_a_sentence(name):
    assert "name" in errors_of(wellformed.check_name, name)


def test_openssh_keys_are_accepted():
    assert errors_of(wellformed.check_ssh_keys, (KEY,)) == {}


@pytest.mark.parametrize(
    "key",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        KEY.replace("ssh-ed25519", "ssh-rsa", 1),
        KEY + "\nssh-rsa AAAA",
        'command="sh" ' + KEY,
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        KEY + "x" * 3000,
        KEY + "\x00",
    ],
)
def test_what_is_no_key_is_refused_by_its_number(key):
    errors = errors_of(wellformed.check_ssh_keys, (KEY, key))
    assert "2" in str(errors["ssh_keys"][0])


def test_too_many_keys_are_refused():
    assert "ssh_keys" in errors_of(wellformed.check_ssh_keys, (KEY,) * 21)


@pytest.mark.parametrize(("password", "good"), [("", True), ("12345", False), ("secret-1", True), ("x" * 73, False)])
def test_passwords_have_bounds(password, good):
    assert (errors_of(wellformed.check_password, password) == {}) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [("#!/bin/sh\n", True), ("x" * 65536, True), ("x" * 65537, False), ("é" * 40000, False), ("\x00", False)],
)
def test_user_data_is_opaque_and_at_most_64_kib(text, good):
    assert (errors_of(wellformed.check_user_data, text) == {}) is good


def test_matching_a_name_is_linear_A18():
    began = time.perf_counter()
    assert "name" in errors_of(wellformed.check_name, "a-" * 50_000)
    assert "ssh_keys" in errors_of(wellformed.check_ssh_keys, ("ssh-rsa " + "A" * 100_000,))
    assert time.perf_counter() - began < 0.05
