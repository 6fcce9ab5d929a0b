"""System checks of our own: settings that Django cannot know to be wrong."""

import re
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register


@register(Tags.security)
def installation(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The installation id enters names in libvirt and paths: 8 hex digits and nothing else."""
    if re.fullmatch(r"[0-9a-f]{8}", settings.INSTALLATION_ID):
        return []
    return [
        Error(
            "The installation id must be 8 hex digits.",
            hint="Set SLIPWAY_INSTALLATION_ID.",
            id="slipway.E001",
        )
    ]


@register(Tags.security)
def node_name(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The node's name enters the name of a Celery queue."""
    if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,61}", settings.NODE_NAME):
        return []
    return [
        Error(
            "The node's name must be letters, digits and hyphens.",
            hint="Set SLIPWAY_NODE_NAME.",
            id="slipway.E002",
        )
    ]


@register(Tags.security, deploy=True)
def https(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Consoles carry passwords: in production the portal and the gateway are reached over TLS."""
    if settings.PORTAL_URL.startswith("https://") and settings.GATEWAY_URL.startswith("https://"):
        return []
    return [Warning("Portal or gateway are not reached over HTTPS.", id="slipway.W001")]
