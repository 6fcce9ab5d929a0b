"""What the console relay costs, beside websockify on the same sources (`./dev bench console`).

Both get the same client and the same UNIX sockets behind them, and take turns; the table has medians and ratios.
CPU is that of the relay's processes alone. The gateway's handshake (ticket, permission) is not in it.
"""

import argparse
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

if __package__ in {None, ""}:  # run as a file: this folder must not shadow the package `console`
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import _ws_client as ws
from bench._sources import SINK_EVERY
from bench._table import percentile

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("flood", "sink", "echo")
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
UPLOAD_MESSAGE = 64 * 1024
STALLED = 40


class Server:
    """A relay under test: where each source is reached, and what its processes use."""

    def __init__(self, name: str, ports: dict[str, int], processes: list[subprocess.Popen[bytes]]) -> None:
        self.name = name
        self.ports = ports
        self._processes = processes

    def connect(self, source: str) -> socket.socket:
        return ws.connect(self.ports[source], source)

    def pids(self) -> list[int]:
        found = [process.pid for process in self._processes]
        for pid in found:
            children = Path(f"/proc/{pid}/task/{pid}/children")
            found.extend(int(child) for child in (children.read_text().split() if children.exists() else []))
        return found

    def cpu_seconds(self) -> float:
        """User and system time of all processes, those included that have ended and were waited for."""
        total = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(ticks) for ticks in fields[11:15])
        return total / TICK

    def memory_mib(self) -> float:
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids()) * PAGE / 2**20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=15)


def await_port(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def start_slipway(stack: ExitStack, folder: str) -> Server:
    port = free_port()
    command = [
        sys.executable, "-m", "uvicorn", "bench._relay_app:application", "--port", str(port),
        "--ws", "console.websocket:ConsoleSocket", "--ws-per-message-deflate", "false", "--log-level", "warning",
        "--timeout-graceful-shutdown", "1",
    ]  # fmt: skip
    process = stack.enter_context(running(command, BENCH_SOCKETS=folder))
    await_port(port)
    return Server("slipway", dict.fromkeys(SOURCES, port), [process])


def start_websockify(stack: ExitStack, folder: str) -> Server:
    program = os.environ.get("WEBSOCKIFY") or str(Path(sys.executable).with_name("websockify"))
    ports, processes = {}, []
    for source in SOURCES:
        ports[source] = free_port()
        command = [program, "--unix-target", f"{folder}/{source}", f"127.0.0.1:{ports[source]}"]
        processes.append(stack.enter_context(running(command)))
        await_port(ports[source])
    return Server("websockify", ports, processes)


def down(server: Server, seconds: float, consoles: int = 1) -> dict[str, float]:
    """MB per second to the browser, and MB per CPU-second."""
    clients = [server.connect("flood") for _ in range(consoles)]
    try:
        ws.receive(clients, 0.2)
        cpu, started = server.cpu_seconds(), time.monotonic()
        total = ws.receive(clients, seconds)
        elapsed, used = time.monotonic() - started, server.cpu_seconds() - cpu
    finally:
        for client in clients:
            client.close()
    return {"rate": total / elapsed / 1e6, "per_cpu": total / max(used, 1 / TICK) / 1e6}


def up(server: Server, seconds: float) -> dict[str, float]:
    """MB per second from the browser, in messages of 64 KiB, as the far side counted them."""
    message = ws.frame(os.urandom(UPLOAD_MESSAGE))
    batch = SINK_EVERY // UPLOAD_MESSAGE
    total = 0
    with server.connect("sink") as client:
        cpu, started = server.cpu_seconds(), time.monotonic()
        while time.monotonic() - started < seconds:
            for _ in range(batch):
                client.sendall(message)
            client.recv(64)
            total += SINK_EVERY
        elapsed, used = time.monotonic() - started, server.cpu_seconds() - cpu
    return {"rate": total / elapsed / 1e6, "per_cpu": total / max(used, 1 / TICK) / 1e6}


def latencies(servers: list[Server], turns: int, trips: int) -> dict[str, dict[str, float]]:
    """Round trips of a key and its echo in us: many short turns, so that a busy moment hits both alike."""
    taken: dict[str, list[float]] = {server.name: [] for server in servers}
    with ExitStack() as stack:
        clients = {server.name: stack.enter_context(server.connect("echo")) for server in servers}
        for client in clients.values():
            ws.round_trips(client, 100)
        for turn in range(turns):
            for name in sorted(clients, reverse=bool(turn % 2)):
                taken[name] += ws.round_trips(clients[name], trips)
    return {
        name: {"p50": percentile(times, 50) * 1e6, "p99": percentile(times, 99) * 1e6} for name, times in taken.items()
    }


def stalled_memory(server: Server) -> float:
    """MiB that each console adds when its client never reads a flood, once it has stopped growing."""
    clients = [server.connect("echo")]
    ws.round_trips(clients[0], 100)
    before = server.memory_mib()
    clients += [server.connect("flood") for _ in range(STALLED)]
    try:
        history = [server.memory_mib()]
        until = time.monotonic() + 10
        while time.monotonic() < until:
            time.sleep(0.5)
            history.append(server.memory_mib())
    finally:
        for client in clients:
            client.close()
    return (max(history) - before) / STALLED


Measure = Callable[[Server], dict[str, float]]


def alternate(servers: list[Server], measure: Measure, rounds: int) -> dict[str, dict[str, float]]:
    """Return the median of each figure for each server, measured in turns."""
    seen: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for turn in range(rounds):
        for server in servers if turn % 2 == 0 else servers[::-1]:
            seen[server.name].append(measure(server))
    return {
        name: {key: statistics.median(one[key] for one in results) for key in results[0]}
        for name, results in seen.items()
    }


class Table:
    """Prints lines of ours, theirs, ratio and target; remembers whether all targets were met."""

    def __init__(self) -> None:
        self.met = True
        print(f"\n{'':34}{'slipway':>12}{'websockify':>12}{'ratio':>8}   target")

    def line(self, what: str, ours: float, theirs: float, unit: str, *, least: float = 0, most: float = 0) -> None:
        ratio = ours / theirs
        ok = (not least or ratio >= least) and (not most or ratio <= most)
        self.met = self.met and ok
        target = f">= {least:g} x" if least else f"<= {most:g} x" if most else ""
        verdict = f"   {target}: {'met' if ok else 'MISSED'}" if target else ""
        print(f"{what:34}{ours:12.1f}{theirs:12.1f}{ratio:8.2f}{verdict}   {unit}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    quick = parser.parse_args().quick
    rounds, seconds, turns, many = (1, 0.3, 3, 10) if quick else (15, 1.0, 150, 50)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), max(soft, hard)))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-bench-"))
        sources = stack.enter_context(running([sys.executable, "-m", "bench._sources", folder]))
        assert sources.stdout is not None
        sources.stdout.readline()
        servers = [start_slipway(stack, folder), start_websockify(stack, folder)]

        one = alternate(servers, lambda server: down(server, seconds), rounds)
        sent = alternate(servers, lambda server: up(server, seconds), rounds)
        trip = latencies(servers, turns, trips=100)
        crowd = alternate(servers, lambda server: down(server, seconds, many), rounds)
        fresh = [start_slipway(stack, folder), start_websockify(stack, folder)]  # with nothing freed to use again
        per_stalled = {server.name: stalled_memory(server) for server in fresh}

    a, b = "slipway", "websockify"
    table = Table()
    table.line("down, one console", one[a]["rate"], one[b]["rate"], "MB/s", least=1.0)
    table.line("down, per CPU-second", one[a]["per_cpu"], one[b]["per_cpu"], "MB")
    table.line("up, one console", sent[a]["rate"], sent[b]["rate"], "MB/s", least=2.0)
    table.line("up, per CPU-second", sent[a]["per_cpu"], sent[b]["per_cpu"], "MB")
    table.line("round trip, p50", trip[a]["p50"], trip[b]["p50"], "us", most=1.0)
    table.line("round trip, p99", trip[a]["p99"], trip[b]["p99"], "us")
    table.line(f"{many} consoles down", crowd[a]["rate"], crowd[b]["rate"], "MB/s")
    table.line(f"{many} consoles, per CPU-second", crowd[a]["per_cpu"], crowd[b]["per_cpu"], "MB", least=1.0)
    memory = per_stalled[a]
    flat = memory < 2
    print(f"\nA console whose client stops reading adds {memory:.2f} MiB (target < 2: {'met' if flat else 'MISSED'}); "
          f"websockify, a process each: {per_stalled[b]:.2f} MiB.\n")  # fmt: skip
    return 0 if quick or (table.met and flat) else 1


if __name__ == "__main__":
    sys.exit(main())
