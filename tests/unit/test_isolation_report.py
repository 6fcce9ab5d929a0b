"""What an isolation report makes of a guest's words."""

import pytest

from sandboxes.isolation import PROBES, Result, holds, read

ALL_BLOCKED = "\n".join(f"{probe.name} blocked" for probe in PROBES)


def results(output: str) -> dict[str, Result]:
    return {finding.probe.name: finding.result for finding in read(output)}


def test_a_report_in_which_nothing_got_out_holds():
    assert holds(read(ALL_BLOCKED))


def test_one_way_that_is_open_is_named_with_its_detail():
    found = read(ALL_BLOCKED.replace("host_tcp blocked", "host_tcp open 22,8000(refused)"))
    assert not holds(found)
    assert [(f.probe.name, f.detail) for f in found if f.result is Result.OPEN] == [("host_tcp", "22,8000(refused)")]


@pytest.mark.parametrize("ports", ["53", "53(refused)"])
def test_the_name_server_may_answer(ports):
    assert holds(read(ALL_BLOCKED.replace("host_tcp blocked", f"host_tcp open {ports}")))


@pytest.mark.parametrize("ports", ["53,22", "530", "5", "153"])
def test_nothing_else_may(ports):
    assert not holds(read(ALL_BLOCKED.replace("host_tcp blocked", f"host_tcp open {ports}")))


def test_what_was_not_said_is_untested_and_a_report_that_was_cut_short_does_not_hold():
    found = results("\n".join(ALL_BLOCKED.splitlines()[:3]))
    assert list(found.values()) == [Result.BLOCKED] * 3 + [Result.UNTESTED] * (len(PROBES) - 3)
    assert not holds(read(""))


def test_without_a_card_everything_is_closed():
    assert holds(read("card blocked there is no card with an address"))


def test_frames_that_could_not_be_sent_are_untested_not_blocked():
    found = results("host_tcp blocked\nframes untested operation not permitted")
    assert found["forged_mac"] is found["neighbour_arp"] is Result.UNTESTED


@pytest.mark.parametrize(
    "line",
    [
        "host_tcp blocked <img src=x onerror=alert(1)>",
        "host_tcp blocked \x1b]52;c;AAAA\x07",
        "host_tcp fine",
        "HOST_TCP blocked",
        "x" * 100_000,
        "host_tcp blocked\0",
    ],
)
def test_words_of_a_hostile_guest_say_nothing(line):
    assert set(results(line).values()) == {Result.UNTESTED}
