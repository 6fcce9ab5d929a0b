"""Which portal, and as whom: SLIPWAY_URL and SLIPWAY_TOKEN, or what `slipway login` stored."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import httpx

from .faults import Code, Fault

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Login:
    """A portal's address (no slash at its end), and a token of one of its users."""

    url: str
    token: str


def config_folder() -> Path:
    """Return the folder of our settings (XDG base directories)."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "slipway"


def state_folder() -> Path:
    """Return the folder for what we remember and can do without."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "slipway"


def login_file() -> Path:
    return config_folder() / "login.json"


def plain_url(text: str) -> str:
    """Return an address as we keep it: scheme, host, port and path alone; Fault where it is none."""
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise Fault(f"{text!r} is not the address of a portal.", "It looks like https://slipway.example.", Code.USAGE)
    return str(url.copy_with(query=None, fragment=None)).rstrip("/")


def sends_in_clear(url: str) -> bool:
    """Would a token travel unencrypted over a network?"""
    parsed = httpx.URL(url)
    return parsed.scheme == "http" and parsed.host not in LOOPBACK


def stored() -> Login | None:
    """Return what `slipway login` stored."""
    path = login_file()
    try:
        kept = json.loads(path.read_text())
        return Login(plain_url(kept["url"]), str(kept["token"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Fault(f"{path} cannot be read: {error}.", "Sign in again: slipway login.", Code.NOT_SIGNED_IN) from None


def store(login: Login) -> Path:
    """Keep a login where only its owner may read it; whole or not at all."""
    path = login_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump({"url": login.url, "token": login.token}, file)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return path


def forget() -> bool:
    """Remove what was stored; return whether there was anything."""
    there = login_file().exists()
    login_file().unlink(missing_ok=True)
    return there


def current() -> Login:
    """Return the login to use. A stored token goes to the portal that it was stored for, and to no other."""
    url, token = os.environ.get("SLIPWAY_URL", ""), os.environ.get("SLIPWAY_TOKEN", "")
    if url and token:
        return Login(plain_url(url), token)
    kept = stored()
    if token:
        if kept is None:
            raise Fault("SLIPWAY_TOKEN is set, but not for which portal.", "Set SLIPWAY_URL, too.", Code.NOT_SIGNED_IN)
        return Login(kept.url, token)
    if kept is None or (url and plain_url(url) != kept.url):
        where = plain_url(url) if url else ""
        raise Fault(
            f"You are not signed in{' at ' + where if where else ''}.",
            f"slipway login{' --url ' + where if where else ''}, or set SLIPWAY_URL and SLIPWAY_TOKEN.",
            Code.NOT_SIGNED_IN,
        )
    return kept
