"""Clients whose network went away without a word: their consoles are reaped within a minute (F23)."""

import contextlib
import os
import subprocess
import sys
import time

import pytest

from tests.live import ROOT, wait_for

SERVER, CLIENT = "10.255.77.1", "10.255.77.2"
PORT = 18990

# a client in the other namespace: connects to two sources of the relay, says so, and never reads
CLIENT_CODE = """
import sys, time
sys.path.insert(0, sys.argv[1])
import socket
create = socket.create_connection
socket.create_connection = lambda address, **options: create((sys.argv[2], address[1]), **options)
from bench import _ws_client as ws
kept = [ws.connect(int(sys.argv[3]), source) for source in ("flood", "echo")]
print("connected", flush=True)
time.sleep(600)
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def namespaces():
    """Two network namespaces joined by a pair of cards; yields their names."""
    ours, theirs = (f"sw-{os.getpid()}-{side}" for side in "ab")
    with contextlib.ExitStack() as stack:
        for name in (ours, theirs):
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
        ip("-n", ours, "link", "add", "veth-a", "type", "veth", "peer", "name", "veth-b", "netns", theirs)
        for name, card, address in ((ours, "veth-a", SERVER), (theirs, "veth-b", CLIENT)):
            ip("-n", name, "address", "add", f"{address}/24", "dev", card)
            ip("-n", name, "link", "set", card, "up")
        yield ours, theirs


@contextlib.contextmanager
def running(namespace, *command, **environment):
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace, sys.executable, *command], cwd=ROOT, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env=os.environ | environment,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def established(namespace) -> int:
    """Count connections at the server, those included that it has closed and TCP still tries to flush."""
    command = ["ip", "netns", "exec", namespace, "ss", "-Htan", "sport", "=", f":{PORT}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return sum(not line.startswith("LISTEN") for line in lines)


def test_consoles_of_clients_that_vanished_are_reaped_within_a_minute_F23(namespaces, tmp_path):
    ours, theirs = namespaces
    server = (
        "-m", "uvicorn", "bench._relay_app:application", "--host", SERVER, "--port", str(PORT),
        "--log-level", "warning", "--ws", "console.websocket:ConsoleSocket",
    )  # fmt: skip
    with (
        running(ours, "-m", "bench._sources", str(tmp_path)) as sources,
        running(ours, *server, BENCH_SOCKETS=str(tmp_path)),
    ):
        sources.stdout.readline()
        wait_for(lambda: is_up(ours), 30, "the server does not listen")
        with running(theirs, "-c", CLIENT_CODE, str(ROOT), SERVER, str(PORT)) as client:
            assert client.stdout.readline() == b"connected\n"
            assert established(ours) == 2
            ip("-n", theirs, "link", "set", "veth-b", "down")  # nobody says goodbye
            started = time.monotonic()
            wait_for(lambda: established(ours) == 0, 60, "half-open consoles are still there")
            assert time.monotonic() - started > 5, "they were not dropped for another reason"


def is_up(namespace) -> bool:
    command = ["ip", "netns", "exec", namespace, "ss", "-Hltn", "sport", "=", f":{PORT}"]
    return bool(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
