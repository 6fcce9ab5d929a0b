"""What time it is, for decisions that several processes share: by the one clock that all of them see."""

from datetime import datetime

from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now
from django.db.models.sql import Query


def now() -> datetime:
    """Return the database's time, in one statement; a host's own clock may be an hour off.

    In a filter or an update `Now()` itself does; this is for moments that are also counted with, or kept in two rows.
    """
    query = Query(None)
    query.add_annotation(Now(), "now")
    [moment] = next(query.get_compiler(DEFAULT_DB_ALIAS).results_iter())
    assert isinstance(moment, datetime)
    return moment
