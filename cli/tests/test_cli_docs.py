"""docs/cli.md tells of every command, option of note and exit code."""

import re
from pathlib import Path

import pytest
import typer
from slipway_cli.faults import Code
from slipway_cli.main import app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def commands():
    """Return the words of every command: ("vm", "ls")."""
    top = typer.main.get_command(app)
    for name, command in top.commands.items():
        for inner in getattr(command, "commands", {}):
            yield (name, inner)
        if not hasattr(command, "commands"):
            yield (name,)


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_every_command_is_described(words):
    group = rf"`{words[0]} [^`\n]*" if len(words) == 2 else "`(slipway )?"
    followed = rf"^\|[^|]*{group}[^|\n]*\b{re.escape(words[-1])}\b" if len(words) == 2 else rf"{group}{words[0]}\b"
    assert re.search(followed, PAGE, re.MULTILINE), f"{' '.join(words)} is not in docs/cli.md"


def test_every_command_says_what_it_does(slipway):
    for words in commands():
        lines = slipway(*words, "--help").out.splitlines()
        assert lines[0].startswith("Usage: slipway")
        assert lines[2].strip(), words


@pytest.mark.parametrize("code", sorted(Code))
def test_every_exit_code_is_described(code):
    assert re.search(rf"^\| {code.value} \||\b{code.value} \(", PAGE, re.MULTILINE)
