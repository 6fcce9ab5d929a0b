"""Structured logs: one line a fact, with request and operation ids, secrets cut out before anything is written."""

import re
from collections.abc import MutableMapping
from typing import Any

import structlog

from . import env

_SECRET_NAME = re.compile(r"(password|passwd|secret|token|ticket|authorization|cookie|user_data|private)", re.I)
_SECRET_VALUE = re.compile(r"(ticket\.|Bearer\s+|slw_)[A-Za-z0-9._~+/=-]{8,}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Cut secrets by the name of the field and by the shape of the value; keep a log line one line."""
    for name, value in event.items():
        if _SECRET_NAME.search(name):
            event[name] = "[cut]"
        elif isinstance(value, str):
            event[name] = (
                _CONTROL.sub("?", _SECRET_VALUE.sub(r"\1[cut]", value))
                if name != "exception"
                else (_SECRET_VALUE.sub(r"\1[cut]", value))
            )
    return event


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.format_exc_info,
    redact,
]


def configure_structlog() -> None:
    """Send structlog through the standard logging, so that libraries and we write the same lines."""
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": "structlog.stdlib.ProcessorFormatter",
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            "foreign_pre_chain": _SHARED,
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": env.read("SLIPWAY_LOG_LEVEL")},
    "loggers": {
        "django.server": {"handlers": ["stderr"], "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "propagate": False, "level": "INFO"},
        "uvicorn.access": {"handlers": [], "propagate": False},
        "kombu": {"level": "WARNING"},
        "celery": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
    },
}
