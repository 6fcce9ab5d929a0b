"""The folder of a frozen domain: `ram`, `state`, `disk.qcow2`, and `manifest.json`, written last.

`state` is there as soon as memory and device state are complete, the manifest as soon as all is. What is half done when
its maker is killed is told by that, and done again.
"""

import contextlib
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from .clone_shape import Shape
from .errors import HypervisorError, NoSpace
from .specs import FrozenFacts

_FORMAT = 1
_COPY_SECONDS = 300


@dataclass(frozen=True, slots=True)
class FrozenFolder:
    """The files of one frozen domain. Methods raise NoSpace or HypervisorError where the file system refuses."""

    path: Path

    @property
    def ram(self) -> Path:
        return self.path / "ram"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def new_state(self) -> Path:
        return self.path / "state.new"

    @property
    def disk(self) -> Path:
        return self.path / "disk.qcow2"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    def make_ram(self, memory_mib: int, uid: int, gid: int) -> None:
        """An empty RAM file for QEMU's user, with all its room taken: a full disk would later kill the guest."""
        with _told():
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            self.path.chmod(0o711)
            with _fresh(self.ram) as fresh, fresh.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                os.posix_fallocate(file.fileno(), 0, memory_mib * 2**20)
                os.fchown(file.fileno(), uid, gid)

    def keep_state(self) -> None:
        """The device state that was written is complete, and so is the RAM."""
        with _told():
            _sync(self.new_state)
            self.new_state.rename(self.state)
            _sync(self.path)

    def keep_ram(self) -> None:
        """Nobody writes the RAM any more; its empty pages need no room on the disk, nor in memory later.

        They are copied away rather than dug out: what was only set aside for the file is no hole, yet reads as one.
        """
        with _told(), _fresh(self.ram) as fresh:
            copy = ["cp", "--sparse=always", str(self.ram), str(fresh)]
            subprocess.run(copy, check=True, capture_output=True, timeout=_COPY_SECONDS)
            fresh.chmod(0o600)

    def keep_disk(self, source: Path) -> None:
        """The domain's disk is here, not where it was, and nobody may write it."""
        with _told():
            if not self.disk.exists():
                try:
                    source.rename(self.disk)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    with _fresh(self.disk) as fresh:
                        shutil.copyfile(source, fresh)
            source.unlink(missing_ok=True)
            os.chown(self.disk, 0, 0)
            self.disk.chmod(0o444)
            _sync(self.disk)

    def write(self, fingerprint: str, shape: Shape, disk_below: tuple[PurePosixPath, ...]) -> None:
        """The manifest: from here on it can be cloned."""
        content = {
            "format": _FORMAT,
            "fingerprint": fingerprint,
            "frozen_at": datetime.now(UTC).isoformat(),
            "shape": shape,
            "disk_below": [str(path) for path in disk_below],
        }
        with _told():
            with _fresh(self.manifest) as fresh:
                fresh.write_text(json.dumps(content, indent=1))
            _sync(self.path)

    def read(self) -> tuple[FrozenFacts, Shape] | None:
        """What is there; None while it is incomplete."""
        try:
            content = json.loads(self.manifest.read_text())
            if content["format"] != _FORMAT:
                return None
            facts = FrozenFacts(
                folder=PurePosixPath(self.path),
                memory_mib=content["shape"]["memory_mib"],
                ram_bytes=_taken(self.ram),
                state_bytes=_taken(self.state),
                disk_bytes=_taken(self.disk),
                fingerprint=content["fingerprint"],
                frozen_at=datetime.fromisoformat(content["frozen_at"]),
                disk_below=tuple(PurePosixPath(path) for path in content["disk_below"]),
            )
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None
        if self.ram.stat().st_size != facts.memory_mib * 2**20:
            return None
        return facts, content["shape"]

    def remove(self) -> None:
        """The folder is gone, the manifest first."""
        with _told(), contextlib.suppress(FileNotFoundError):
            self.manifest.unlink(missing_ok=True)
            shutil.rmtree(self.path)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise NoSpace(str(error)) from error
        if isinstance(error, subprocess.CalledProcessError) and b"No space left" in error.stderr:
            raise NoSpace(error.stderr.decode()) from error
        raise HypervisorError(str(error)) from error


@contextlib.contextmanager
def _fresh(path: Path) -> Iterator[Path]:
    """Where to write what takes this place when it is whole. Of what fails nothing stays that would fill the disk."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        yield fresh
        _sync(fresh)
        fresh.rename(path)
    except Exception:
        fresh.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _taken(path: Path) -> int:
    return path.stat().st_blocks * 512
