"""The text of a bridge's guard. What it lets pass is shown with real frames in tests/contract/test_probe.py."""

import re

import pytest

from hypervisor.errors import BadSpec
from hypervisor.nft_guard import (
    build_admission,
    build_dismissal,
    build_guard,
    build_removal,
    table_name,
    tap_name,
    tap_prefix,
)

MAC, NETWORK = "52:54:00:0a:0b:0c", "slipway-c2d686a8-nat"


def test_a_taps_name_follows_from_its_network_and_mac_and_fits_the_kernel():
    assert tap_name(NETWORK, MAC.upper()) == tap_prefix(NETWORK) + "0a0b0c"
    assert len(tap_name(NETWORK, MAC)) == 15
    assert tap_prefix(NETWORK) != tap_prefix("slipway-c2d686a9-nat")


def test_a_card_is_admitted_with_its_address_and_as_one_that_asks_for_it():
    [line] = build_admission(NETWORK, MAC, "10.1.2.3").splitlines()
    tap = tap_name(NETWORK, MAC)
    assert line == (
        f'add element bridge {table_name(NETWORK)} guests {{ "{tap}" . {MAC} . 10.1.2.3, "{tap}" . {MAC} . 0.0.0.0 }}'
    )
    assert build_guard(NETWORK, {MAC: "10.1.2.3"}).splitlines()[-1] == line


def test_a_card_is_added_before_it_is_deleted_so_that_it_may_be_unknown():
    added, deleted = build_dismissal(NETWORK, MAC, "10.1.2.3").splitlines()
    assert (added.partition(" ")[2], deleted.partition(" ")[::2]) == (deleted.partition(" ")[2], ("delete", added[4:]))


def test_the_guard_is_made_in_one_step_and_keeps_the_cards_that_it_knows():
    text = build_guard(NETWORK, {})
    assert f"flush chain bridge {table_name(NETWORK)} from_guests" in text
    assert "flush set" not in text


@pytest.mark.parametrize(
    "mac", ["", "52:54:00:0a:0b", "52:54:00:0a:0b:0c; drop", "gg:54:00:0a:0b:0c", "52:55:00:0a:0b:0c", '"', "\n"]
)
def test_what_is_no_mac_becomes_no_command(mac):
    with pytest.raises(BadSpec):
        build_admission(NETWORK, mac, "10.1.2.3")


@pytest.mark.parametrize("address", ["", "10.1.2", "10.1.2.3 }", "::1", "10.1.2.256"])
def test_what_is_no_address_becomes_no_command(address):
    with pytest.raises(BadSpec):
        build_admission(NETWORK, MAC, address)


def test_whatever_a_network_is_called_its_table_has_a_plain_name():
    assert table_name(NETWORK) == "slipway_guard_c2d686a8_nat"
    assert re.fullmatch(r"slipway_guard_[a-z0-9_]+", table_name('x"; flush ruleset'))
    assert "flush ruleset" not in build_guard('x"; flush ruleset', {}) + build_removal('x"; flush ruleset')
