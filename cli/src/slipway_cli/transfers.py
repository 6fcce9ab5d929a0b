"""Files and folders into and out of a sandbox. A guest is not trusted: nothing that it sends leaves the target."""

import os
import shutil
import stat
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from .client import Api
from .faults import Code, Fault
from .showing import plain, say

SPOOL_BYTES = 16 * 2**20  # of a tar that is kept in memory
MODE = 0o777  # what is taken over of a file's mode: never setuid, setgid or sticky


@dataclass(frozen=True, slots=True)
class Remote:
    """A path in a sandbox, which is given by name or id."""

    sandbox: str
    path: str


def parse(place: str) -> Remote | Path:
    """Return what NAME:PATH or a local path means. A path with a slash before its first colon is local."""
    name, colon, path = place.partition(":")
    if not colon or "/" in name or not name:
        return Path(place).expanduser()
    return Remote(name, checked(path))


def checked(path: str) -> str:
    """Return a guest's path; Fault where it is not a whole one."""
    if not path.startswith("/"):
        raise Fault(f"{path!r} is no path of the guest: that begins with /.", "Write NAME:/path.", Code.USAGE)
    return path


def landing(source: Path, target: str) -> str:
    """Return the guest's path that an upload gets: below `target` where that ends with a slash."""
    return target + source.resolve().name if target.endswith("/") else target


def upload(api: Api, sandbox_id: str, source: Path, target: str) -> int:
    """Put a file there, or a folder's content; into the folder `target` where it ends with a slash. Return bytes."""
    params = {"path": landing(source, target)}
    where = f"sandboxes/{sandbox_id}/files"
    try:
        if source.is_dir():
            with _tar_of(source) as content:
                return int(api.upload(where, content, kind="folder", **params)["bytes"])
        with source.open("rb") as content:
            mode = format(stat.S_IMODE(os.fstat(content.fileno()).st_mode) & MODE, "03o")
            return int(api.upload(where, content, kind="file", mode=mode, **params)["bytes"])
    except OSError as error:
        raise Fault(f"{source} cannot be read: {error.strerror or error}.", code=Code.USAGE) from None


def _tar_of(folder: Path) -> BinaryIO:
    """Return a tar of what is in a folder, at its beginning. GNU format: busybox reads that, too."""
    spool = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115
    with tarfile.open(fileobj=spool, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name, filter=_nobodys)
    spool.seek(0)
    return spool  # type: ignore[return-value]


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def download(api: Api, sandbox_id: str, source: str, target: Path) -> Path:
    """Fetch a file, or a folder's content, and return where it is now: below `target` where that is a folder."""
    with api.stream(f"sandboxes/{sandbox_id}/files", path=source) as answer:
        kind = answer.headers.get("x-slipway-kind", "file")
        if target.is_dir():
            target /= PurePosixPath(source).name or "root"
        with tempfile.TemporaryFile() as spool:
            for piece in answer.iter_bytes():
                spool.write(piece)
            spool.seek(0)
            try:
                if kind == "folder":
                    _unpack(spool, target)
                else:
                    _write(spool, target)
            except OSError as error:
                raise Fault(f"{target} cannot be written: {error.strerror or error}.", code=Code.USAGE) from None
    return target


def _write(content: BinaryIO, target: Path, mode: int | None = None) -> None:
    """Write a file whole or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(content, file)
        part.chmod((mode if mode is not None else 0o666) & MODE & ~_umask())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _unpack(content: BinaryIO, target: Path) -> None:
    """Unpack files and folders of a tar into `target`; links, devices and names that lead out of it are left out."""
    target.mkdir(parents=True, exist_ok=True)
    left_out = []
    try:
        with tarfile.open(fileobj=content, mode="r:") as tar:
            for member in tar:
                place = _place_of(member, target)
                if place is None:
                    left_out.append(member.name)
                elif member.isdir():
                    place.mkdir(parents=True, exist_ok=True)
                elif file := tar.extractfile(member):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    _write(file, place, member.mode)  # type: ignore[arg-type]
    except (tarfile.TarError, ValueError) as error:
        raise Fault(f"What the sandbox sent is no tar: {error}.") from None
    for name in left_out[:5]:
        say(f"Left out, because it is a link or no file: {plain(name)}")
    if len(left_out) > 5:
        say(f"... and {len(left_out) - 5} more.")


def _place_of(member: tarfile.TarInfo, target: Path) -> Path | None:
    """Return where a member goes; None for what we do not unpack. No link that was there before is followed out."""
    parts = [part for part in PurePosixPath(member.name).parts if part != "."]
    # one with holes may claim a size of terabytes, and no tar that we ask for has any
    if not (member.isreg() or member.isdir()) or member.issparse() or member.name.startswith("/") or ".." in parts:
        return None
    place = target.joinpath(*parts)
    inside = target.resolve()
    return place if place.parent.resolve() == inside or inside in place.parent.resolve().parents or not parts else None
