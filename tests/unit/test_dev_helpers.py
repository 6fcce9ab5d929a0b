"""The Python helpers of `./dev`: counting results, shortening logs, finding what is ours."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts" / "dev"))

import follow  # noqa: E402
import report  # noqa: E402
import wipe  # noqa: E402

JUNIT = """<testsuites><testsuite name="unit">
<testcase classname="a" name="good"/>
<testcase classname="a" name="bad"><failure message="no"/></testcase>
<testcase classname="a" name="broken"><error message="setup"/></testcase>
<testcase classname="a" name="left_out"><skipped type="pytest.skip" message="{reason}"/></testcase>
</testsuite></testsuites>"""


def junit(folder: Path, text: str) -> Path:
    path = folder / "unit.xml"
    path.write_text(text)
    return path


def test_counts(tmp_path: Path) -> None:
    count = report.count(junit(tmp_path, JUNIT.format(reason="no KVM here")))
    assert str(count) == "1 passed, 2 failed, 1 skipped"


def test_a_run_that_wrote_nothing_has_failed(tmp_path: Path) -> None:
    assert report.count(tmp_path / "never.xml").failed == 1


@pytest.mark.parametrize(("allowed", "fine"), [("^no KVM", True), ("# no KVM here", False), ("", False)])
def test_only_agreed_skips_pass(tmp_path: Path, allowed: str, fine: bool) -> None:
    results = junit(
        tmp_path,
        '<testsuite><testcase classname="a" name="b"/>'
        '<testcase classname="a" name="c"><skipped message="no KVM here"/></testcase></testsuite>',
    )
    allow_list = tmp_path / "allowed.txt"
    allow_list.write_text(f"# reasons\n\n{allowed}\n")
    assert report.one_suite(allow_list, results) is fine


def test_an_empty_run_does_not_pass(tmp_path: Path) -> None:
    assert report.one_suite(tmp_path / "none.txt", junit(tmp_path, "<testsuite/>")) is False


def test_the_total_is_a_plain_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = junit(tmp_path, JUNIT.format(reason="x"))
    report.total([path, path])
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 4 failed, 2 skipped"


def test_a_structured_line_becomes_a_short_one() -> None:
    line = json.dumps({"event": "claimed", "level": "info", "timestamp": "t", "logger": "l", "operation": "o1"})
    assert (follow.shorten("node-worker", line) or "").split("  ", 1)[1] == "node-worker  claimed operation=o1"


def test_what_nobody_wants_to_read_is_left_out() -> None:
    assert follow.shorten("redis", "1:M Ready to accept connections") is None
    assert follow.shorten("supervisord", "2026 INFO success: web entered RUNNING state") is None


def test_a_process_that_ended_is_told() -> None:
    told = follow.shorten("supervisord", "2026-01-01 WARN exited: node-worker (exit status 1; not expected)") or ""
    assert told.split("  ", 1)[1] == "node-worker  ended (exit status 1; not expected); it is started again"


class Named:
    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name


def test_only_names_of_this_installation_are_wiped() -> None:
    names = ["sw-0a0b0c0d-1", "slipway-0a0b0c0d", "slipway-0a0b0c0d-clean", "sw-0a0b0c0e-1", "default", "xsw-0a0b0c0d"]
    pattern = wipe.pattern_of("0a0b0c0d")
    assert [item.name() for item in wipe.ours(map(Named, names), pattern)] == names[:3]


@pytest.mark.parametrize("wrong", ["", "0a0b0c0", "0A0B0C0D", ".*", "0a0b0c0d|default"])
def test_an_odd_installation_id_wipes_nothing(wrong: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(repr(wrong))):
        wipe.pattern_of(wrong)


def test_test_files_have_names_of_their_own() -> None:
    """pytest collects no two of one name in one run, and suites one by one do not show it: `./dev test -m faults`."""
    names = [path.name for folder in ("tests", "cli/tests") for path in (ROOT / folder).rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
