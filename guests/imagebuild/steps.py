"""Running commands and saying how long each step took."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class BuildError(Exception):
    """The image cannot be built; the message is one sentence that says what to do."""


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | bytes = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Runs a command and returns its standard output; BuildError with the end of its stderr when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as missing:
        raise BuildError(f"{words[0]} is not installed: install the package that has it and try again.") from missing
    if done.returncode != 0:
        tail = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-15:]
        raise BuildError(f"`{' '.join(words)}` failed with {done.returncode}:\n" + "\n".join(tail))
    return done.stdout.decode(errors="replace")


def lines(file: Path) -> list[str]:
    """The lines of a list, without comments and empty ones."""
    return [line for line in file.read_text().splitlines() if line and not line.startswith("#")]


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Prints the step's name when it starts and its seconds when it has succeeded."""
    print(f"  {name} ...", end="", flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - start:.1f} s", flush=True)
