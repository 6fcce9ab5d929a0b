"""The processes that hold frozen RAM in memory: found again, started where there is none, ended. See `ram_holder`."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from hypervisor.errors import HypervisorError
from hypervisor.frozen_files import FrozenFolder

_PROGRAM = Path(__file__).with_name("ram_holder.py")
_SEALED = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Held(NamedTuple):
    """A memory file in a process."""

    pid: int
    descriptor: int

    @property
    def path(self) -> PurePosixPath:
        return PurePosixPath(f"/proc/{self.pid}/fd/{self.descriptor}")


def keep(folder: FrozenFolder, uid: int, gid: int) -> PurePosixPath:
    """The path of the sealed memory that all clones of this folder share; its holder is started if there is none."""
    with _locked(folder):
        held = _recorded(folder)
        if held is None:
            with _started(folder, "keep", uid, gid) as process:
                held = _said(process)
            record = _record(folder)
            fresh = record.with_suffix(".new")
            fresh.write_text(f"{held.pid} {held.descriptor}\n")
            fresh.rename(record)
            if _recorded(folder) != held:
                raise HypervisorError(f"the memory of {folder.path.name} is not held as it should be")
    return held.path


@contextlib.contextmanager
def lend(folder: FrozenFolder, uid: int, gid: int) -> Iterator[PurePosixPath]:
    """The path of a copy of the RAM for one clone alone, which must have opened it when the block ends."""
    with _started(folder, "lend", uid, gid) as process:
        try:
            yield _said(process).path
        finally:
            assert process.stdin is not None
            process.stdin.close()


def end(folder: FrozenFolder) -> None:
    """Nobody holds the memory of this folder; clones that have mapped it go on."""
    if not folder.path.is_dir():
        return
    with _locked(folder):
        held = _recorded(folder)
        if held is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(held.pid, signal.SIGTERM)
        _record(folder).unlink(missing_ok=True)


def _recorded(folder: FrozenFolder) -> Held | None:
    """The holder that was started last, if it lives and holds this very memory, sealed."""
    try:
        pid, descriptor = _record(folder).read_text().split()
        held = Held(int(pid), int(descriptor))
        if str(Path(held.path).readlink()) != f"/memfd:{_name(folder)} (deleted)":
            return None
        opened = os.open(held.path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        sealed = fcntl.fcntl(opened, fcntl.F_GET_SEALS) == _SEALED
        return held if sealed and os.fstat(opened).st_size == folder.ram.stat().st_size else None
    finally:
        os.close(opened)


def _started(folder: FrozenFolder, what: str, uid: int, gid: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-I", "-S", str(_PROGRAM), what, str(folder.ram), _name(folder), str(uid), str(gid)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}, cwd="/")


def _said(process: "subprocess.Popen[bytes]") -> Held:
    assert process.stdout is not None
    words = process.stdout.readline().split()
    if len(words) != 2:
        raise HypervisorError("the RAM could not be read into memory")
    return Held(int(words[0]), int(words[1]))


def _record(folder: FrozenFolder) -> Path:
    return folder.path / "holder"


def _name(folder: FrozenFolder) -> str:
    return f"slipway-{folder.path.name}"


@contextlib.contextmanager
def _locked(folder: FrozenFolder) -> Iterator[None]:
    with (folder.path / "holder.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
