"""The project as an app: management commands and system checks that span the others."""

from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "portal"
    verbose_name = "Slipway"

    def ready(self) -> None:
        from . import checks  # noqa: F401 - registers the system checks
