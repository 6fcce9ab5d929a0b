"""The programs of ours in the images, for clones, runs and reports: compiled here, static, to run in any guest."""

from pathlib import Path

from .steps import run

GUESTS = Path(__file__).resolve().parent.parent
FLAGS = ("-std=gnu11", "-O2", "-static", "-s", "-Wall", "-Wextra", "-Wconversion", "-Werror")
PROGRAMS = {"ident": "slipway-identity", "runner": "slipway-runner", "probe": "slipway-probe"}


def install_programs(tree: Path) -> None:
    """Compiles each into the tree's /usr/sbin; needs gcc and the C library's static half."""
    for sources, name in PROGRAMS.items():
        compile_program(sources, tree / "usr/sbin" / name)


def compile_program(sources: str, program: Path) -> Path:
    """Compiles the sources in guests/`sources`; returns `program`."""
    run(["gcc", *FLAGS, "-o", program, *sorted((GUESTS / sources).glob("*.c"))])
    return program
