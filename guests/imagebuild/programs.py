"""The programs of ours in the images, for clones, runs and reports: compiled here, static, to run in any guest."""

from pathlib import Path

from .steps import run

GUESTS = Path(__file__).resolve().parent.parent
FLAGS = ("-std=gnu11", "-O2", "-static", "-s", "-Wall", "-Wextra", "-Wconversion", "-Werror")
# each is made of the C files of these folders
PROGRAMS = {
    "slipway-identity": ("ident", "common"),
    "slipway-runner": ("runner", "common"),
    "slipway-probe": ("probe",),
}


def install_programs(tree: Path) -> None:
    """Compiles each into the tree's /usr/sbin; needs gcc and the C library's static half."""
    for name in PROGRAMS:
        compile_program(name, tree / "usr/sbin")


def compile_program(name: str, folder: Path) -> Path:
    """Compiles the program into the folder; returns where it is."""
    program = folder / name
    run(["gcc", *FLAGS, "-o", program, *sources_of(name)])
    return program


def sources_of(name: str) -> list[Path]:
    return [path for folder in PROGRAMS[name] for path in sorted((GUESTS / folder).glob("*.c"))]
