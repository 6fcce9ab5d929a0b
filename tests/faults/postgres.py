"""A PostgreSQL of a fault test's own, that may be killed at any moment and comes back with all that was committed."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.live import wait_for


class Postgres:
    """A private PostgreSQL on a UNIX socket, durable against kill -9 of its processes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = f"postgres://slipway@/slipway?host={home / 'socket'}"
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        self.bin = found[-1]

    def _run(self, program: str, *words: str, check: bool = True) -> None:
        as_postgres = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", "--reset-env", "--"]
        subprocess.run(
            [*as_postgres, str(self.bin / program), *words], cwd="/", check=check, capture_output=True, timeout=60
        )

    def create(self) -> None:
        for folder in (self.home, self.home / "socket", self.home / "data"):
            folder.mkdir(exist_ok=True)
            shutil.chown(folder, "postgres", "postgres")
        (self.home / "data").chmod(0o700)
        self._run("initdb", "-D", str(self.home / "data"), "-U", "slipway", "-A", "trust", "-E", "UTF8", "--no-locale")
        self.start()
        self.sql("create database slipway", "postgres")

    def sql(self, words: str, database: str = "slipway") -> str:
        """Run a statement as the owner; return what it prints, without decoration."""
        command = ["psql", "-qAt", "-h", str(self.home / "socket"), "-U", "slipway", database, "-c", words]
        return subprocess.run(command, check=True, timeout=30, capture_output=True, text=True).stdout.strip()

    def start(self) -> None:
        """Start it; a backend that is still dying keeps the memory that the new one wants."""
        try:
            wait_for(self._try_to_start, 60, "PostgreSQL has started again")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{(self.home / 'socket/log').read_text()[-2000:]}") from None

    def _answers(self) -> bool:
        try:
            return self.sql("select 1", "postgres") == "1"
        except subprocess.CalledProcessError:
            return False

    def _try_to_start(self) -> bool:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.home / 'socket'}' -c max_connections=100"
        log = str(self.home / "socket/log")
        try:
            self._run("pg_ctl", "-D", str(self.home / "data"), "-w", "-t", "40", "-l", log, "-o", options, "start")
        except subprocess.CalledProcessError:  # also when it has come up while pg_ctl gave up
            return self._answers()
        return True

    def kill(self) -> None:
        """SIGKILL to the server and every backend: all connections break, whatever they were doing."""
        file = self.home / "data/postmaster.pid"
        if not file.exists():
            return
        pid = int(file.read_text().split()[0])
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
        for victim in [pid, *map(int, children)]:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_for(lambda: _is_dead(pid), 30, "PostgreSQL is dead")
        for left in (file, *(self.home / "socket").glob(".s.PGSQL.*")):  # they name a process that is not reaped yet
            left.unlink(missing_ok=True)


def _is_dead(pid: int) -> bool:
    """Has it gone, or does nothing but its parent's question about it keep its number?"""
    try:
        return f"{pid} (postgres) Z" in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
