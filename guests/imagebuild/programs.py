"""The programs of ours in the images, for clones and for runs: compiled here, static, so that they run in any guest."""

from pathlib import Path

from .steps import run

GUESTS = Path(__file__).resolve().parent.parent
FLAGS = ("-std=gnu11", "-O2", "-static", "-s", "-Wall", "-Wextra", "-Wconversion", "-Werror")
PROGRAMS = {"ident": "slipway-identity", "runner": "slipway-runner"}


def install_programs(tree: Path) -> None:
    """Compiles each into the tree's /usr/sbin; needs gcc and the C library's static half."""
    for sources, name in PROGRAMS.items():
        run(["gcc", *FLAGS, "-o", tree / "usr/sbin" / name, *sorted((GUESTS / sources).glob("*.c"))])
