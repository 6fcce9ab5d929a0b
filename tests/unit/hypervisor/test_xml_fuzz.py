"""A5: whatever stands in a text of a spec, it stays that text, or is refused."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypervisor.domain_xml import build_domain, device_inventory, parse_domain
from hypervisor.errors import BadSpec
from hypervisor.network_xml import build_network, parse_network
from hypervisor.specs import DomainSpec, OwnerTag, VolumeSpec
from hypervisor.volume_xml import build_volume, parse_volume
from hypervisor.xml_text import from_text
from tests.unit.hypervisor.goldens import NETWORK, OVERLAY, PLAIN

NASTY = (
    "</name><devices><filesystem><source dir='/'/></filesystem></devices><name>",
    "a]]>b",
    "&amp;&lt;&#0;",
    "<!DOCTYPE x>",
    "\ud800",
    "\x00",
    "\uffff",
    "a\r\nb\tc",
    "'\"><qemu:arg value='-S'/>",
    "😀\u202e\u0301",
)


def with_text(field: str, text: str) -> DomainSpec:
    """The plain domain with this text in one place."""
    if field == "installation":
        return replace(PLAIN, owner=OwnerTag(text, PLAIN.owner.vm_id))
    if field in ("network", "mac", "address", "filter_name"):
        return replace(PLAIN, nics=(replace(PLAIN.nics[0], **{field: text}),))
    if field in ("path", "base_path"):
        return replace(PLAIN, disks=(replace(PLAIN.disks[0], **{field: PurePosixPath(text)}),))
    if field in ("serial_socket", "seed_path"):
        return replace(PLAIN, **{field: PurePosixPath(text)})
    return replace(PLAIN, **{field: text})


FIELDS = ["name", "virt_type", "cpu", "arch", "machine", "installation", "network", "mac", "address", "filter_name"]
FIELDS += ["path", "base_path", "serial_socket", "seed_path"]
TEXTS = st.one_of(st.text(max_size=60), st.sampled_from(NASTY), st.text("<>&'\"]/ -x:", max_size=40))


def shape(text: str) -> list[str]:
    """The names of all elements, in order."""
    return [str(element.tag) for element in from_text(text).iter()]


def check(field: str, text: str) -> None:
    """With this text in this place the domain is refused, or is the plain domain but for the text."""
    spec = with_text(field, text)
    try:
        built = build_domain(spec)
    except BadSpec:
        return
    if field != "cpu":  # two of its words are modes, with fewer elements
        assert shape(built) == shape(build_domain(PLAIN))
    assert device_inventory(built) == device_inventory(build_domain(PLAIN))
    try:
        parsed = parse_domain(built)
    except BadSpec:
        return
    assert parsed == spec or (field == "machine" and text.startswith("pc-"))


@pytest.mark.parametrize("field", FIELDS)
@settings(max_examples=20, deadline=None)
@given(text=TEXTS)
@example(NASTY[0])
@example(NASTY[8])
def test_no_text_adds_anything_to_a_domain_A5(field: str, text: str) -> None:
    check(field, text)


@pytest.mark.nightly
@pytest.mark.parametrize("field", FIELDS)
@settings(max_examples=10_000 // len(FIELDS), deadline=None)
@given(text=TEXTS)
def test_none_of_ten_thousand_texts_does_A5(field: str, text: str) -> None:
    check(field, text)


@settings(max_examples=40, deadline=None)
@given(text=TEXTS)
def test_no_text_adds_anything_to_a_network_or_volume_A5(text: str) -> None:
    for built_from in (replace(NETWORK, name=text), replace(NETWORK, domain=text, bridge=text)):
        try:
            built = build_network(built_from)
            assert shape(built) == shape(build_network(NETWORK))
            assert parse_network(built) == built_from
        except BadSpec:
            continue
    try:
        volume = VolumeSpec(OVERLAY.pool, text, 1, PurePosixPath(text))
        built = build_volume(volume)
        assert shape(built) == shape(build_volume(OVERLAY))
        assert parse_volume(built, OVERLAY.pool) == volume
    except BadSpec:
        return


@pytest.mark.parametrize("text", ["\x00", "\x0b", "\ud800", "\uffff", "\ufffe"])
def test_what_xml_cannot_carry_is_refused_A5(text: str) -> None:
    with pytest.raises(BadSpec):
        build_domain(replace(PLAIN, name=f"sw{text}"))
    with pytest.raises(BadSpec):
        build_domain(with_text("network", f"sw{text}"))
