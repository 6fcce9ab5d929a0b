"""The NoCloud seed: three files, every scalar of ours quoted, the tenant's bytes untouched."""

import io
import json
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycdlib.pycdlib import PyCdlib

from hypervisor.errors import BadSpec
from hypervisor.seed import (
    DEFAULT_USER_DATA,
    DIGEST_LENGTH,
    DIGEST_OFFSET,
    MAX_USER_DATA_BYTES,
    build_seed,
    seed_digest,
    seed_files,
)
from hypervisor.specs import SeedSpec

KEYS = ("ssh-ed25519 AAAAC3Nza alice@harbor", 'ssh-rsa AAAAB3 "quoted" \\ comment: é')
SEED = SeedSpec(UUID(int=7), "harbor-1", KEYS, "$2b$12$abcdefghijklmnopqrstuv", b"#!/bin/sh\necho hi\n")


def files_in(image: bytes, names: str) -> dict[str, bytes]:
    """The files of an ISO image by their Rock Ridge or Joliet names."""
    iso = PyCdlib()
    iso.open_fp(io.BytesIO(image))
    found = {}
    for child in iso.list_children(**{names: "/"}):
        if child.is_dir():
            continue
        name = child.rock_ridge.name().decode() if names == "rr_path" else child.file_identifier().decode("utf-16-be")
        content = io.BytesIO()
        iso.get_file_from_iso_fp(content, **{names: f"/{name}"})
        found[name] = content.getvalue()
    iso.close()
    return found


def quoted_after(line: str, start: str) -> str:
    assert line.startswith(start)
    return str(json.loads(line.removeprefix(start)))


@pytest.mark.parametrize("names", ["rr_path", "joliet_path"])
def test_the_image_holds_the_three_files_and_nothing_else_A14(names: str) -> None:
    assert files_in(build_seed(SEED), names) == seed_files(SEED)
    assert set(seed_files(SEED)) == {"meta-data", "vendor-data", "user-data"}


def test_the_label_is_the_one_that_guests_look_for() -> None:
    assert build_seed(SEED)[16 * 2048 + 40 :].startswith(b"cidata ")


def test_meta_data_has_identity_and_keys_one_a_line() -> None:
    lines = seed_files(SEED)["meta-data"].decode().splitlines()
    assert quoted_after(lines[0], "instance-id: ") == str(SEED.instance_id)
    assert quoted_after(lines[1], "local-hostname: ") == "harbor-1"
    assert lines[2] == "public-keys:"
    assert [quoted_after(line, "- ") for line in lines[3:]] == list(KEYS)


def test_without_a_name_the_guest_keeps_its_own() -> None:
    assert b"hostname" not in seed_files(replace(SEED, hostname=""))["meta-data"]


def test_vendor_data_sets_a_password_only_where_one_was_given() -> None:
    lines = seed_files(SEED)["vendor-data"].decode().splitlines()
    assert lines[0] == "#cloud-config"
    assert quoted_after(lines[1], "password: ") == SEED.password_hash
    assert lines[2:] == ["chpasswd: {expire: false}", "ssh_pwauth: true"]
    assert seed_files(replace(SEED, password_hash=""))["vendor-data"] == b"#cloud-config\n"


def test_user_data_is_opaque_and_limited_A14() -> None:
    bomb = b"a: &a [x,x]\nb: [*a,*a]\n\x00\xff"
    assert seed_files(replace(SEED, user_data=bomb))["user-data"] == bomb
    assert seed_files(replace(SEED, user_data=b""))["user-data"] == DEFAULT_USER_DATA
    assert len(seed_files(replace(SEED, user_data=bytes(MAX_USER_DATA_BYTES)))["user-data"]) == MAX_USER_DATA_BYTES
    with pytest.raises(BadSpec):
        seed_files(replace(SEED, user_data=bytes(MAX_USER_DATA_BYTES + 1)))


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80))
def test_no_text_adds_a_line(text: str) -> None:
    spec = replace(SEED, hostname=text, ssh_keys=(text,), password_hash=text)
    try:
        files = seed_files(spec)
    except BadSpec:
        text.encode("utf-8", "surrogatepass")  # only what UTF-8 cannot carry
        assert any("\ud800" <= character <= "\udfff" for character in text)
        return
    assert files["meta-data"].count(b"\n") == (4 if text else 3)
    assert files["vendor-data"].count(b"\n") == (4 if text else 1)


def test_the_digest_stands_in_the_image_and_follows_the_contents() -> None:
    digest = build_seed(SEED)[DIGEST_OFFSET : DIGEST_OFFSET + DIGEST_LENGTH].decode()
    assert digest == seed_digest(SEED)
    others = [
        replace(SEED, hostname="harbor-2"),
        replace(SEED, ssh_keys=()),
        replace(SEED, password_hash=""),
        replace(SEED, user_data=b"x"),
    ]
    assert len({seed_digest(other) for other in (SEED, *others)}) == 5


def test_secrets_do_not_show_in_a_spec_that_is_printed_A23() -> None:
    assert "$2b$" not in repr(SEED)
    assert "echo hi" not in repr(SEED)
