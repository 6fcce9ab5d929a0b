"""Every environment variable that Slipway reads, in one table (documented in `.env.example`).

Nothing has to be set: what is missing is derived from the checkout, so that a fresh clone runs. Secrets and the
installation id are made once and kept in the state folder, readable by their owner alone.
"""

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environ

BASE_DIR = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: its name, its type for django-environ, the default ("" = derived), and what it is for."""

    name: str
    cast: type
    default: Any
    about: str


VARIABLES: tuple[Variable, ...] = (
    Variable("SLIPWAY_DEBUG", bool, False, "Django's debug pages; never where others can reach the portal"),
    Variable("SLIPWAY_SECRET_KEY", str, "", "signs sessions and seals secrets; default: var/secret_key, made once"),
    Variable("SLIPWAY_VAR_DIR", str, "", "state of this installation; default: var/ in the checkout"),
    Variable("SLIPWAY_DATA_DIR", str, "", "what QEMU opens; default: /var/lib/slipway/<installation id>"),
    Variable("SLIPWAY_INSTALLATION_ID", str, "", "8 hex digits in every name we give; default: var/installation_id"),
    Variable("SLIPWAY_NODE_NAME", str, "", "this hypervisor's name; default: the host's name"),
    Variable("SLIPWAY_LIBVIRT_URI", str, "qemu:///system", "the local hypervisor; fake: for none at all"),
    Variable("SLIPWAY_VIRT_TYPE", str, "", "kvm or qemu; default: kvm where host and CPU offer it"),
    Variable("SLIPWAY_HOST", str, "127.0.0.1", "address that web and gateway listen on"),
    Variable("SLIPWAY_PORT", int, 8000, "port of the portal"),
    Variable("SLIPWAY_GATEWAY_PORT", int, 8001, "port of the gateway (consoles)"),
    Variable("SLIPWAY_PORTAL_URL", str, "", "the portal as browsers see it; default: http://HOST:PORT"),
    Variable("SLIPWAY_GATEWAY_URL", str, "", "the gateway as browsers see it; default: http://HOST:GATEWAY_PORT"),
    Variable("SLIPWAY_ALLOWED_HOSTS", list, [], "further host names of the portal, separated by commas"),
    Variable("SLIPWAY_ORIGINS", list, [], "further exact origins that may open consoles, separated by commas"),
    Variable("SLIPWAY_HTTPS", bool, False, "the portal is reached over HTTPS: secure cookies, HSTS, redirects"),
    Variable("SLIPWAY_SIGNUP", bool, False, "let anyone make an account"),
    Variable("SLIPWAY_LOG_LEVEL", str, "INFO", "level of the structured logs"),
    Variable("SLIPWAY_SUBNET", str, "", "the NAT network, such as 10.71.8.0/22; default: a free one is picked"),
    Variable("SLIPWAY_EMAIL_URL", str, "", "smtp+tls://user:password@host:587 for mail; default: none is sent"),
    Variable("SLIPWAY_EMAIL_FROM", str, "", "whom mail is from; default: slipway@ the portal's host"),
    Variable("SLIPWAY_LEASE_MAX_MINUTES", int, 10080, "the longest that may be left of a sandbox's lease"),
    Variable("SLIPWAY_LEASE_GRACE_HOURS", int, 24, "from a lease's end, paused to disk, to the sandbox's deletion"),
    Variable(
        "SLIPWAY_LEASE_WARN_MIN_MINUTES",
        int,
        15,
        "warn a tenth of a lease before its end; at least so long",
    ),
    Variable("SLIPWAY_LEASE_WARN_MAX_MINUTES", int, 1440, "and at most so long"),
    Variable("SLIPWAY_POOL_MEMORY_FREE_PERCENT", int, 15, "of a node's memory; with less free, its waiting clones go"),
    Variable("SLIPWAY_READY_SCRIPT_MINUTES", int, 10, "how long a template's ready script may take"),
    Variable("SLIPWAY_FILES_MAX_MIB", int, 64, "the most of one transfer to or from a sandbox"),
    Variable("DATABASE_URL", str, "", "postgres://...; default: SQLite in the state folder"),
    Variable("REDIS_URL", str, "", "broker and channel layer; default: unix socket in the state folder"),
)

_env = environ.Env()


def read(name: str) -> Any:
    """Return the variable's value in its declared type, or its default; KeyError for one not in the table."""
    variable = next((v for v in VARIABLES if v.name == name), None)
    if variable is None:
        raise KeyError(f"{name} is not declared in portal/env.py")
    raw = os.environ.get(name, "")
    if not raw.strip():
        return variable.default
    return _env.get_value(name, cast=variable.cast)


def kept(path: Path, make: Any) -> str:
    """Return the file's content, made once by `make()` where it is missing (mode 0600, atomically)."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(make() + "\n")
        try:
            os.link(temporary, path)  # the first of several starting processes wins
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        return path.read_text().strip()


def var_dir() -> Path:
    return Path(read("SLIPWAY_VAR_DIR") or BASE_DIR / "var").resolve()


def secret_key() -> str:
    return str(read("SLIPWAY_SECRET_KEY")) or kept(var_dir() / "secret_key", lambda: secrets.token_urlsafe(50))


def installation_id() -> str:
    return str(read("SLIPWAY_INSTALLATION_ID")) or kept(var_dir() / "installation_id", lambda: secrets.token_hex(4))


def node_name() -> str:
    return str(read("SLIPWAY_NODE_NAME")) or socket.gethostname().split(".")[0].lower() or "node"


def data_dir() -> Path:
    return Path(read("SLIPWAY_DATA_DIR") or f"/var/lib/slipway/{installation_id()}")


def database(url: str = "") -> dict[str, Any]:
    """Return Django's settings for the database: SQLite in immediate mode and WAL, or PostgreSQL."""
    url = url or read("DATABASE_URL") or f"sqlite:///{var_dir() / 'slipway.sqlite3'}"
    config: dict[str, Any] = dict(environ.Env.db_url_config(url))
    if config["ENGINE"].endswith("sqlite3"):
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    return config


def redis_url() -> str:
    return str(read("REDIS_URL")) or f"unix://{var_dir() / 'run' / 'redis.sock'}"


def celery_broker_url() -> str:
    """Return the broker's URL: Celery names a UNIX socket redis+socket:// where redis-py says unix://."""
    url = redis_url()
    return "redis+socket://" + url.removeprefix("unix://") if url.startswith("unix://") else url


def portal_url() -> str:
    return str(read("SLIPWAY_PORTAL_URL")).rstrip("/") or f"http://{read('SLIPWAY_HOST')}:{read('SLIPWAY_PORT')}"


def gateway_url() -> str:
    return (
        str(read("SLIPWAY_GATEWAY_URL")).rstrip("/") or f"http://{read('SLIPWAY_HOST')}:{read('SLIPWAY_GATEWAY_PORT')}"
    )


def email() -> dict[str, Any]:
    """Return Django's settings of the mail server; without one, mail goes nowhere."""
    url = read("SLIPWAY_EMAIL_URL")
    return dict(environ.Env.email_url_config(url or "dummymail://"))
