"""Logs: one JSON line a fact in every process, and no secret in any."""

import io
import json
import logging
import logging.config

import structlog
from django.conf import settings

from hypervisor.errors import HypervisorError
from vms import services


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


def test_request_and_operation_are_named_together_by_web_and_worker(world, django_capture_on_commit_callbacks):
    answers = []

    def write():
        api = world.api("alice")
        with django_capture_on_commit_callbacks(execute=True):
            answers.append(api.call("POST", "vms", {"name": "web-1", "image": "micro", "flavor": "nano"}))
        structlog.contextvars.clear_contextvars()  # the worker is another process
        world.hypervisor.fail_next("define", HypervisorError("busy"))
        world.drain()

    written = [line for line in lines(write=write) if line["event"].startswith(("operation_", "step_"))]
    [answer] = answers
    ids = {"request_id": answer["X-Request-Id"], "operation_id": answer.json()["operation"]["id"]}
    assert [line["event"] for line in written] == ["operation_asked", "step_failed", "operation_ended"]
    for line in written:
        assert {name: line[name] for name in ids} == ids, line["event"]
    assert written[0]["actor"] == "alice"


def test_the_systems_own_operations_have_no_request(world, django_capture_on_commit_callbacks):
    vm = world.vm()

    def write():
        structlog.contextvars.clear_contextvars()
        with django_capture_on_commit_callbacks(execute=True):
            services.request_delete(world.actor("alice"), vm.pk)

    [asked] = [line for line in lines(write=write) if line["event"] == "operation_asked"]
    assert (asked["request_id"], asked["kind"]) == ("", "delete")
