"""The command `guests/build`."""

import argparse
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
    stamp = out.with_name(out.name + ".inputs")
    inputs = _inputs(arguments.name)
    if out.exists() and stamp.exists() and stamp.read_text() == inputs and not arguments.force:
        print(f"{out} is up to date ({out.stat().st_size / MIB:.0f} MiB); --force builds it again.")
        return 0
    print(f"Building the guest image {arguments.name}:", flush=True)
    start = time.monotonic()
    try:
        _check_host()
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as work:
            IMAGES[arguments.name](out, arguments.cache.absolute(), Path(work))
    except BuildError as problem:
        print(problem, file=sys.stderr)
        return 1
    stamp.write_text(inputs)
    print(f"{out}: {out.stat().st_size / MIB:.0f} MiB in {time.monotonic() - start:.0f} s")
    return 0


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
