"""Count what pytest wrote into JUnit files, and refuse skips that nobody agreed to.

Usage: report.py ALLOWED_SKIPS JUNIT_XML   one line "name: N passed, N failed, N skipped"; exit 1 on an
                                           unexpected skip or an empty run
       report.py --total JUNIT_XML...      the plain total as the last line
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from lxml import etree


@dataclass
class Count:
    """How one suite went; `reasons` are those of its skips, with the test's name."""

    passed: int = 0
    failed: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {len(self.reasons)} skipped"


def count(path: Path) -> Count:
    """Read one file; a missing one counts as a failure: pytest did not get far enough to write it."""
    result = Count()
    if not path.exists():
        return Count(failed=1)
    for case in etree.parse(path).iterfind(".//testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed += 1
        elif skipped is not None:
            result.reasons.append((f"{case.get('classname')}.{case.get('name')}", skipped.get("message", "")))
        else:
            result.passed += 1
    return result


def allowed_patterns(path: Path) -> list[re.Pattern[str]]:
    """Return the regular expressions of the allow-list, one a line; # starts a comment."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [re.compile(line) for line in lines if line.strip() and not line.startswith("#")]


def one_suite(allow_list: Path, path: Path) -> bool:
    """Print the suite's line and its unexpected skips; return whether all is well."""
    result = count(path)
    print(f"{path.stem}: {result}")
    patterns = allowed_patterns(allow_list)
    unexpected = [(name, why) for name, why in result.reasons if not any(p.search(why) for p in patterns)]
    for name, why in unexpected:
        print(f"  skipped, though {allow_list.name} does not allow it: {name}: {why}")
    if not result.passed and not result.failed:
        print("  no test ran")
        return False
    return not unexpected and not result.failed


def total(paths: list[Path]) -> None:
    """Print the sum of all suites."""
    results = [count(path) for path in paths]
    everything = Count(sum(r.passed for r in results), sum(r.failed for r in results))
    everything.reasons = [reason for r in results for reason in r.reasons]
    print(everything)


def main() -> None:
    """Choose between one suite and the total."""
    if sys.argv[1] == "--total":
        total([Path(name) for name in sys.argv[2:]])
    elif not one_suite(Path(sys.argv[1]), Path(sys.argv[2])):
        sys.exit(1)


if __name__ == "__main__":
    main()
