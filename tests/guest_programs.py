"""The runner of the guest images as a process of this host, compiled with checks of every memory access."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from guests.imagebuild.programs import sources_of

CHECKS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
DEADLINE = 20.0


def compiled(folder: Path) -> Path:
    """Compile it into this folder, which outlives the tests that use it."""
    out = folder / "slipway-runner"
    subprocess.run(
        ["gcc", "-std=gnu11", *CHECKS, "-Wall", "-Wextra", "-Wconversion", "-Werror", "-o", str(out),
         *map(str, sources_of("slipway-runner"))],
        check=True, capture_output=True,
    )  # fmt: skip
    return out


class RunnerProcess:
    """It listens on `path`. At the end nothing may have been found wrong with it."""

    def __init__(self, program: Path, path: Path) -> None:
        self.path = path
        options = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99", "UBSAN_OPTIONS": "exitcode=99"}
        self._process = subprocess.Popen(
            [program, "--listen", str(path)], env=os.environ | options, stderr=subprocess.PIPE
        )
        until = time.monotonic() + DEADLINE
        while not _answers(path):
            assert self._process.poll() is None, self._process.communicate()[1].decode()
            assert time.monotonic() < until
            time.sleep(0.005)

    @property
    def pid(self) -> int:
        return self._process.pid

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE)

    def stop(self) -> None:
        """End it; AssertionError where the checks found something."""
        killed = self._process.poll() == -signal.SIGKILL
        self._process.terminate()
        _out, said = self._process.communicate(timeout=DEADLINE)
        assert killed or self._process.returncode == -signal.SIGTERM, said.decode()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def runner(program: Path, path: Path) -> Iterator[RunnerProcess]:
    process = RunnerProcess(program, path)
    try:
        yield process
    finally:
        process.stop()
        path.unlink(missing_ok=True)
