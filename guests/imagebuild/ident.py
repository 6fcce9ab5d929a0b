"""The identity listener, the one program of ours in the images: compiled here, static, so that it runs in any guest."""

from pathlib import Path

from .steps import run

SOURCES = Path(__file__).resolve().parent.parent / "ident"
FLAGS = ("-std=gnu11", "-O2", "-static", "-s", "-Wall", "-Wextra", "-Wconversion", "-Werror")


def install_listener(tree: Path) -> None:
    """Compiles guests/ident into the tree's /usr/sbin/slipway-identity; needs gcc and the C library's static half."""
    run(["gcc", *FLAGS, "-o", tree / "usr/sbin/slipway-identity", *sorted(SOURCES.glob("*.c"))])
