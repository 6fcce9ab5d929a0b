"""The benchmarks still run: each once, as short as it goes. What they measure is no matter here."""

import os
import subprocess
from urllib.parse import urlsplit

import pytest

from tests.live import ROOT, Live

FEW = ["--image", "micro", "--flavor", "nano"]
SHORT = {
    "create": ["--pairs", "1"],
    "list": ["--rounds", "2", "--sizes", "60", "120"],
    "console": ["--quick"],
    "status": ["--rounds", "3"],
    "sandbox": [*FEW, "--rounds", "1", "--boots", "1", "--at-once", "2", "--many", "2", "--settle", "1"],
    "soak": ["--fake", "--minutes", "0.05", "--fault-every", "60"],
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SHORT)
def test_a_benchmark_prints_its_table(live: Live, name: str):
    port = urlsplit(live.url).port or 0
    environment = os.environ | {"SLIPWAY_VAR_DIR": str(live.var), "SLIPWAY_PORT": str(port)}
    environment["SLIPWAY_GATEWAY_PORT"] = str(port + 1)
    command = [str(ROOT / "var" / "venv" / "bin" / "python"), "-m", f"bench.{name}", *SHORT[name]]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode in (0, 1), done.stderr[-2000:]  # 1: a ratio was missed, which a busy machine may do
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) > 5, done.stdout
