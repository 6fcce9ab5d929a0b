"""The portal that benchmarks of real machines run against: the one that `./dev up -d` keeps running."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.live import ROOT, Live


def running_portal() -> Live:
    """Return the running portal of this checkout (or of SLIPWAY_VAR_DIR, SLIPWAY_PORT); ends with advice if none."""
    var = Path(os.environ.get("SLIPWAY_VAR_DIR") or ROOT / "var")
    live = Live(f"http://127.0.0.1:{os.environ.get('SLIPWAY_PORT') or 8000}", var)
    try:
        ready = httpx.get(f"{live.url}/healthz", timeout=10).is_success
    except httpx.TransportError:
        ready = False
    if not ready:
        sys.exit(f"{live.url} is not ready: start it with ./dev up -d.")
    return live


@contextmanager
def sign_in(live: Live, name: str) -> Iterator[httpx.Client]:
    """Give a browser's session: cookies, and the headers that a page's script sends with a POST."""
    headers = {"Origin": live.url, "X-Slipway-Script": "1"}
    with httpx.Client(base_url=live.url, headers=headers, timeout=30) as http:
        http.get("/accounts/login").raise_for_status()
        form = {"username": name, "password": live.passwords[name], "csrfmiddlewaretoken": _csrf(http)}
        answer = http.post("/accounts/login", data=form)
        assert answer.is_redirect, answer.text[:500]
        http.headers["X-CSRFToken"] = _csrf(http)
        yield http


def _csrf(http: httpx.Client) -> str:
    return next(value for name, value in http.cookies.items() if name.startswith("slipway_csrf"))
