"""A portal for fault tests: real Celery worker, node agent, beat, Redis and database as processes that may be killed.

The hypervisor is the fake in a file that they share, so that what is tested is everything above it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.live import ROOT, wait_for

NODE = "node-1"
VENV = Path(sys.executable).parent
PATIENCE = 120.0  # seconds for a process to come up on a busy machine


class Refused(Exception):
    """The driver's command raised this."""


class Installation:
    """Processes by name: redis, postgres (where asked for), worker, agent, beat, driver."""

    def __init__(self, home: Path, postgres: bool = False, libvirt_uri: str = "") -> None:
        self.home = home
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.socket = home / "redis.sock"
        self.postgres = Postgres(home / "pg") if postgres else None
        url = self.postgres.url if self.postgres else f"sqlite:///{home / 'db.sqlite3'}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
        self.environment = kept | {
            "DATABASE_URL": url,
            "REDIS_URL": f"unix://{self.socket}",
            "SLIPWAY_LIBVIRT_URI": libvirt_uri or f"fake://{home / 'host'}",
            "SLIPWAY_VIRT_TYPE": "qemu",
            "SLIPWAY_INSTALLATION_ID": "fa017fa0",
            "SLIPWAY_NODE_NAME": NODE,
            "SLIPWAY_SUBNET": "10.71.0.0/20",
            "SLIPWAY_VAR_DIR": str(home / "var"),
            "SLIPWAY_DATA_DIR": str(home / "data"),
            "PYTHONPATH": str(ROOT),
        }

    def __enter__(self) -> "Installation":
        try:
            if self.postgres:
                self.postgres.create()
            self.start("redis")
            self.start("driver")
            self("prepare")
            for name in ("agent", "worker", "beat"):
                self.start(name)
            self.wait(lambda: self("synced"), PATIENCE, "the node agent has compared")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for name in list(self.running):
            self.kill(name)
        if self.postgres:
            self.postgres.kill()

    # --- processes ----------------------------------------------------------------------------------------------
    def _command(self, name: str) -> list[str]:
        celery = [str(VENV / "celery"), "--quiet", "-A", "portal"]
        redis = ["redis-server", "--port", "0", "--save", "", "--appendonly", "no", "--dir", str(self.home)]
        return {
            "redis": [*redis, "--unixsocket", str(self.socket)],
            "worker": [*celery, "worker", "-Q", f"node.{NODE}", "-P", "threads", "-c", "8", "-n", "node@%h"],
            "beat": [*celery, "worker", "-Q", "default", "-P", "threads", "-c", "2", "-n", "default@%h", "-B", "-s",
                     str(self.home / "beat")],
            "agent": [sys.executable, "manage.py", "node_agent"],
            "driver": [sys.executable, str(ROOT / "tests/faults/driver.py")],
        }[name]  # fmt: skip

    def start(self, name: str) -> None:
        piped = subprocess.PIPE if name == "driver" else subprocess.DEVNULL
        with (self.home / f"{name}.log").open("a") as log:
            self.running[name] = subprocess.Popen(
                self._command(name), cwd=ROOT, env=self.environment, text=True, start_new_session=True,
                stdin=piped, stdout=piped if name == "driver" else log, stderr=log,
            )  # fmt: skip
        if name == "redis":
            self.wait(lambda: self.redis("ping", check=False) == "PONG", 20, "Redis answers")

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the process and all that it started."""
        os.killpg(self.running[name].pid, number)

    def kill(self, name: str) -> None:
        """SIGKILL to the whole process group."""
        process = self.running.pop(name)
        for number in (signal.SIGKILL, signal.SIGCONT):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
        process.wait(20)
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with suppress(BrokenPipeError):  # by what it was never told
                    pipe.close()

    def redis(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["redis-cli", "-s", str(self.socket), *words], capture_output=True, text=True, timeout=20, check=check
        )
        return done.stdout.strip()

    # --- what the web process does ------------------------------------------------------------------------------
    def __call__(self, command: str, *arguments: Any) -> Any:
        """Let the driver do something; Refused when it raised."""
        driver = self.running["driver"]
        assert driver.stdin
        assert driver.stdout
        driver.stdin.write(json.dumps([command, arguments]) + "\n")
        driver.stdin.flush()
        line = driver.stdout.readline()
        assert line, f"the driver died:\n{self.log('driver')}"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["answer"]

    def wait(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        try:
            return wait_for(condition, seconds, what)
        except AssertionError as error:
            logs = "\n".join(f"--- {name}\n{self.log(name)}" for name in self.running if name != "redis")
            raise AssertionError(f"{error}\n{logs}") from None

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text()[-2500:]

    def settled(self, seconds: float = 90.0) -> list[list[Any]]:
        """Wait until no operation is live and every promise holds again; return all operations."""
        self.wait(lambda: self("live") == 0, seconds, "every operation has ended")
        self.wait(lambda: self("breaches") == [], 70, "the audit is clean (two comparisons)")
        return self("operations")


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
        subprocess.run(
            ["psql", "-q", "-h", str(self.home / "socket"), "-U", "slipway", "postgres", "-c", "create database slipway"],  # noqa: E501
            check=True, timeout=30,
        )  # fmt: skip

    def start(self) -> None:
        """Start it; a backend that is still dying keeps the memory that the new one wants."""
        try:
            wait_for(self._try_to_start, 60, "PostgreSQL has started again")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{(self.home / 'socket/log').read_text()[-2000:]}") from None

    def _answers(self) -> bool:
        words = ["psql", "-q", "-h", str(self.home / "socket"), "-U", "slipway", "postgres", "-c", "select 1"]
        return subprocess.run(words, check=False, capture_output=True, timeout=30).returncode == 0

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


@contextmanager
def installation(home: Path, postgres: bool = False, libvirt_uri: str = "") -> Iterator[Installation]:
    with Installation(home, postgres, libvirt_uri) as made:
        yield made
