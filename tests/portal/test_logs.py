"""Logs: one JSON line a fact in every process, and no secret in any."""

import io
import json
import logging
import logging.config

import structlog
from django.conf import settings


def lines(*, write):
    """Return what `write` logs through the handlers that the settings make."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logging.config.dictConfig(settings.LOGGING | {"loggers": {}})
    try:
        (handler,) = root.handlers
        handler.setStream(stream)
        write()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_ours_and_those_of_libraries_are_json_lines():
    def write():
        structlog.get_logger("console.test").info("console.cut", why="revoked")
        logging.getLogger("library").warning("two\nlines of %s", "its")

    ours, theirs = lines(write=write)
    assert (ours["event"], ours["why"], ours["level"]) == ("console.cut", "revoked", "info")
    assert (theirs["event"], theirs["level"]) == ("two?lines of its", "warning")


def test_secrets_are_cut_by_name_and_by_shape_A23():
    def write():
        log = structlog.get_logger("console.test")
        log.info("opened", ticket="s3cret-value", url="wss://x/?", protocols="slipway.v1, ticket.AbCdEfGhIjKlMnOp")
        logging.getLogger("library").error("header Bearer slw_AbCdEfGhIjKlMnOp was sent")

    written = json.dumps(lines(write=write))
    assert "s3cret-value" not in written
    assert "AbCdEfGhIjKlMnOp" not in written
