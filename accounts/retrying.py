"""Running a transaction again when the database says that it collided with another one and was undone whole."""

import functools
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import structlog
from django.db import OperationalError, connection

log = structlog.get_logger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
TRIES = 5
LONGEST_SECONDS = 30.0  # of all tries together; SQLite has waited for its lock by itself before it complains
FIRST_PAUSE_SECONDS = 0.02
COLLISIONS = frozenset({"40001", "40P01"})  # SQLSTATE: serialization failure, deadlock detected


def collided(error: BaseException) -> bool:
    """Was the transaction undone for no fault of its own? PostgreSQL says so by SQLSTATE, SQLite in words."""
    state = getattr(error.__cause__, "sqlstate", None)
    return state in COLLISIONS or "is locked" in str(error)


def retried(work: Callable[P, R]) -> Callable[P, R]:
    """Let `work`, which is one transaction, be tried up to five times with growing random pauses.

    Its effect is single: what collided was undone, bells included (they ring after the commit). Within another
    transaction nothing is tried again here, because that one is lost as a whole: its owner has to.
    """

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if connection.in_atomic_block:
            return work(*args, **kwargs)
        began = time.monotonic()
        for attempt in range(1, TRIES):
            try:
                return work(*args, **kwargs)
            except OperationalError as error:
                if not collided(error) or time.monotonic() - began > LONGEST_SECONDS:
                    raise
                log.info("transaction_tried_again", work=work.__qualname__, attempt=attempt)
            time.sleep(FIRST_PAUSE_SECONDS * 2**attempt * random.random())  # noqa: S311 - so that they part
        return work(*args, **kwargs)

    return run
