"""Finding the running portal, or starting it."""

import fcntl
import os
import subprocess
from functools import cache
from pathlib import Path

from tests.live import ROOT, Live


@cache
def running_portal() -> Live:
    """Return the portal that `./dev test` started, else start it (and leave it running for the next run)."""
    url, var = os.environ.get("SLIPWAY_E2E_URL", ""), os.environ.get("SLIPWAY_E2E_VAR", "")
    if not url:
        with (ROOT / "var" / "e2e.lock").open("w") as lock:  # of several processes of one run, the first starts it
            fcntl.flock(lock, fcntl.LOCK_EX)
            subprocess.run([str(ROOT / "dev"), "e2e-portal", "up"], check=True, timeout=600)
        var = str(ROOT / "var" / "e2e")
        url = f"http://127.0.0.1:{(Path(var) / 'port').read_text().strip()}"
    return Live(url, Path(var))
