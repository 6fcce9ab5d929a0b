"""A portal for fault tests: real Celery worker, node agent, beat, Redis and database as processes that may be killed.

The hypervisor is the fake in a file that they share, so that what is tested is everything above it.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.postgres import Postgres
from tests.live import ROOT, wait_for

NODE = "node-1"
VENV = Path(sys.executable).parent
PATIENCE = 120.0  # seconds for a process to come up on a busy machine


class Refused(Exception):
    """The driver's command raised this."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Installation:
    """Processes by name: redis, postgres (where asked for), worker, agent, beat, driver; web and gateway if started.

    `more` is environment for all of them. "worker@b" is the worker of a second node with `of_node["b"]` on top.
    """

    def __init__(
        self, home: Path, postgres: bool = False, libvirt_uri: str = "", more: dict[str, str] | None = None
    ) -> None:
        self.home = home
        self.id = secrets.token_hex(4)  # of its own: the packet filter of this host has tables of several at a time
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.children: list[Child] = []
        self.of_node: dict[str, dict[str, str]] = {}
        self.socket = home / "redis.sock"
        self.port, self.gateway_port = free_port(), free_port()
        self.postgres = Postgres(home / "pg") if postgres else None
        url = self.postgres.url if self.postgres else f"sqlite:///{home / 'db.sqlite3'}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
        self.environment = kept | {
            "DATABASE_URL": url,
            "REDIS_URL": f"unix://{self.socket}",
            "SLIPWAY_LIBVIRT_URI": libvirt_uri or f"fake://{home / 'host'}",
            "SLIPWAY_VIRT_TYPE": "qemu",
            "SLIPWAY_INSTALLATION_ID": self.id,
            "SLIPWAY_NODE_NAME": NODE,
            "SLIPWAY_SUBNET": "10.71.0.0/20",
            "SLIPWAY_VAR_DIR": str(home / "var"),
            "SLIPWAY_DATA_DIR": str(home / "data"),
            "SLIPWAY_PORT": str(self.port),
            "SLIPWAY_GATEWAY_PORT": str(self.gateway_port),
            "PYTHONPATH": str(ROOT),
            **(more or {}),
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
        for child in self.children:
            child.kill()
        for name in list(self.running):
            self.kill(name)
        if self.postgres:
            self.postgres.kill()
        ours = (f"inet slipway_{self.id}", f"arp slipway_{self.id}")
        for table in (*ours, f"bridge slipway_guard_{self.id}_nat", f"bridge slipway_guard_{self.id}_isolated"):
            # its agents' own, in this host's packet filter
            subprocess.run(["nft", "delete", "table", *table.split()], capture_output=True, check=False)

    # --- processes ----------------------------------------------------------------------------------------------
    def _command(self, name: str, node: str) -> list[str]:
        celery = [str(VENV / "celery"), "--quiet", "-A", "portal"]
        redis = ["redis-server", "--port", "0", "--save", "", "--appendonly", "no", "--dir", str(self.home)]
        asgi = ["--host", "127.0.0.1", "--ws", "websockets-sansio", "--ws-per-message-deflate", "false",
                "--no-access-log", "--timeout-graceful-shutdown", "3", "--log-level", "warning"]  # fmt: skip
        gateway = ["--port", str(self.gateway_port), *asgi, "--ws", "console.websocket:ConsoleSocket"]
        return {
            "redis": [*redis, "--unixsocket", str(self.socket)],
            "worker": [*celery, *worker_words(node)],
            "beat": [*celery, "worker", "-Q", "default", "-P", "threads", "-c", "2", "-n", "default@%h",
                     "-B", "-s", str(self.home / "beat")],
            "agent": [sys.executable, "manage.py", "node_agent"],
            "clocked": [sys.executable, str(ROOT / "tests/faults/clocked_agent.py"), str(self.home / "lags")],
            "driver": [sys.executable, str(ROOT / "tests/faults/driver.py")],
            "nursery": [sys.executable, str(ROOT / "tests/faults/nursery.py")],
            "web": [str(VENV / "uvicorn"), "portal.asgi:application", "--port", str(self.port), *asgi],
            "gateway": [str(VENV / "uvicorn"), "console.asgi:application", *gateway],
        }[name]  # fmt: skip

    def start(self, name: str) -> None:
        kind, _at, node = name.partition("@")
        environment = self.environment | self.of_node.get(node, {})
        piped = subprocess.PIPE if kind in ("driver", "nursery") else subprocess.DEVNULL
        with (self.home / f"{name}.log").open("a") as log:
            self.running[name] = subprocess.Popen(
                self._command(kind, environment["SLIPWAY_NODE_NAME"]), cwd=ROOT, env=environment, text=True,
                start_new_session=True, stdin=piped, stdout=log if piped == subprocess.DEVNULL else piped, stderr=log,
            )  # fmt: skip
        if name == "redis":
            self.wait(lambda: self.redis("ping", check=False) == "PONG", 20, "Redis answers")
        if name in ("web", "gateway"):
            self.wait(lambda: self._listens(name), PATIENCE, f"{name} listens")

    def _listens(self, name: str) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port if name == "web" else self.gateway_port)) == 0

    def bear(self, threads: int = 8, plans: Path | None = None, impatient: Path | None = None) -> "Child":
        """Return a worker that was forked off one that is loaded already (tests/faults/nursery.py).

        `plans`: the folder that says at which place of which operation it kills itself (tests/faults/fatal.py).
        `impatient`: where it notes what an impatient broker sent it again (tests/faults/impatience.py).
        """
        if "nursery" not in self.running:
            self.start("nursery")
        nursery = self.running["nursery"]
        assert nursery.stdin
        assert nursery.stdout
        nursery.stdin.write(json.dumps([worker_words(NODE, threads), str(plans or ""), str(impatient or "")]) + "\n")
        nursery.stdin.flush()
        self.children.append(Child(int(nursery.stdout.readline())))
        return self.children[-1]

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
        self.say("driver", command, *arguments)
        return self.hear("driver")

    def say(self, driver: str, command: str, *arguments: Any) -> None:
        """Let a driver begin; `hear` its answer. Two of them can be told before either is heard."""
        process = self.running[driver]
        assert process.stdin
        process.stdin.write(json.dumps([command, arguments]) + "\n")
        process.stdin.flush()

    def hear(self, driver: str) -> Any:
        process = self.running[driver]
        assert process.stdout
        line = process.stdout.readline()
        assert line, f"the driver died:\n{self.log(driver)}"
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

    def audit(self) -> None:
        """Wait until every node's audit is clean: two comparisons at the most."""
        for driver in [name for name in self.running if name.partition("@")[0] == "driver"]:
            self.wait(lambda driver=driver: self._clean(driver), 90, f"the audit of {driver} is clean")

    def _clean(self, driver: str) -> bool:
        self.say(driver, "breaches")
        return self.hear(driver) == []

    def settled(self, seconds: float = 90.0) -> list[list[Any]]:
        """Wait until no operation is live and every promise holds again; return all operations."""
        self.wait(lambda: self("live") == 0, seconds, "every operation has ended")
        self.wait(lambda: self("breaches") == [], 70, "the audit is clean (two comparisons)")
        return self("operations")


@dataclass
class Child:
    """A worker from the nursery."""

    pid: int
    dead: bool = field(default=False)

    def kill(self) -> None:
        """SIGKILL, once: its number may be somebody else's later."""
        if not self.dead:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.dead = True

    def lives(self) -> bool:
        """Is it there? Its nursery buries the dead at once."""
        self.dead = self.dead or not Path(f"/proc/{self.pid}").exists()
        return not self.dead


def worker_words(node: str, threads: int = 8) -> list[str]:
    return ["worker", "-Q", f"node.{node}", "-P", "threads", "-c", str(threads), "-n", f"{node}@%h"]


@contextmanager
def installation(
    home: Path, postgres: bool = False, libvirt_uri: str = "", more: dict[str, str] | None = None
) -> Iterator[Installation]:
    with Installation(home, postgres, libvirt_uri, more) as made:
        yield made
