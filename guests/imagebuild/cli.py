"""The command `guests/build`."""

import argparse
import fcntl
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

from . import debian12, micro
from .steps import BuildError, run

GUESTS = Path(__file__).resolve().parent.parent
IMAGES = {"debian-12": debian12.build, "micro": micro.build}
MIB = 1024 * 1024


def main() -> int:
    """Builds the image that the arguments name; the exit code says whether it is there now."""
    arguments = _arguments()
    out: Path = arguments.out.absolute()
    if _is_up_to_date(arguments, out):
        return 0
    try:
        _check_host()
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.with_name(f".{out.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_up_to_date(arguments, out):  # else who came first has built it
                _build(arguments, out)
    except BuildError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _is_up_to_date(arguments: argparse.Namespace, out: Path) -> bool:
    stamp = _stamp(out)
    if arguments.force or not out.exists() or not stamp.exists() or stamp.read_text() != _inputs(arguments.name):
        return False
    print(f"{out} is up to date ({out.stat().st_size / MIB:.0f} MiB); --force builds it again.")
    return True


def _build(arguments: argparse.Namespace, out: Path) -> None:
    print(f"Building the guest image {arguments.name}:", flush=True)
    start, inputs = time.monotonic(), _inputs(arguments.name)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as work:
        IMAGES[arguments.name](out, arguments.cache.absolute(), Path(work))
    _stamp(out).write_text(inputs)
    print(f"{out}: {out.stat().st_size / MIB:.0f} MiB in {time.monotonic() - start:.0f} s")


def _stamp(out: Path) -> Path:
    return out.with_name(out.name + ".inputs")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="guests/build", description="Builds a bootable image from Debian packages.")
    parser.add_argument("name", choices=sorted(IMAGES), help="which image")
    parser.add_argument("out", type=Path, metavar="OUT.qcow2", help="the file to write; replaced in one step")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("/var/cache/slipway-guests"),
        help="where packages are kept between builds (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="build even when nothing under guests/ has changed")
    return parser.parse_args()


def _inputs(name: str) -> str:
    """A digest of everything in this repository that the image is made from (packages come on top: see --force)."""
    digest = hashlib.sha256()
    others = {other for other in IMAGES if other != name}
    for file in sorted(GUESTS.rglob("*")):
        path = file.relative_to(GUESTS)
        if file.is_file() and path.parts[0] not in others and "__pycache__" not in path.parts:
            digest.update(f"{path}\0{file.stat().st_mode & 0o111}\0".encode())
            digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest() + "\n"


def _check_host() -> None:
    if os.geteuid() != 0:
        raise BuildError("Building an image mounts a disk: run it as root (sudo).")
    if run(["dpkg", "--print-architecture"]).strip() != "amd64":
        raise BuildError("Guest images are built for amd64: build on an amd64 machine and copy the file.")
