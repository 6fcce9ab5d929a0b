"""Celery: a doorbell. A message bears an operation's id and nothing else; the database remembers the rest."""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging
from kombu.transport import redis as broker
from redis.exceptions import OutOfMemoryError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

# a worker waits for a Redis that is full as it waits for one that is away, instead of ending for good
broker.Transport.connection_errors += (OutOfMemoryError,)
app = Celery("slipway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_our_logging(**_kwargs: Any) -> None:
    """Celery would replace the log configuration; Django's stands."""
