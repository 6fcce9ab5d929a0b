"""The project: settings, URL tables, the ASGI application, Celery, and commands that span the apps."""

from .celery import app as celery_app

__all__ = ["celery_app"]
