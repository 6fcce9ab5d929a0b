"""System checks of our own: settings that Django cannot know to be wrong."""

import re
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

LONGEST_LEASE_MINUTES = 366 * 24 * 60
POLICY = {
    "SLIPWAY_LEASE_MAX_MINUTES": f"From 1 to {LONGEST_LEASE_MINUTES}, a year.",
    "SLIPWAY_LEASE_GRACE_HOURS": "From 0 to 8784, a year.",
    "SLIPWAY_LEASE_WARN_MIN_MINUTES": "From 1 to SLIPWAY_LEASE_WARN_MAX_MINUTES.",
    "SLIPWAY_POOL_MEMORY_FREE_PERCENT": "From 0 to 99.",
    "SLIPWAY_READY_SCRIPT_MINUTES": "At least 1.",
    "SLIPWAY_FILES_MAX_MIB": "From 1 to 1024.",
}


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


@register()
def policy(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What an admin decides about sandboxes is possible: a number that is none of a kind would show late and oddly."""
    least, most = settings.SANDBOX_LEASE_MINUTES
    early, earliest = settings.SANDBOX_WARN_BEFORE
    wrong = {
        "SLIPWAY_LEASE_MAX_MINUTES": not least <= most <= LONGEST_LEASE_MINUTES,
        "SLIPWAY_LEASE_GRACE_HOURS": not timedelta(0) <= settings.SANDBOX_GRACE <= timedelta(days=366),
        "SLIPWAY_LEASE_WARN_MIN_MINUTES": not timedelta(0) < early <= earliest,
        "SLIPWAY_POOL_MEMORY_FREE_PERCENT": not 0 <= settings.SANDBOX_POOL_MEMORY_FREE < 1,
        "SLIPWAY_READY_SCRIPT_MINUTES": timedelta(0) >= settings.READY_SCRIPT_WAIT,
        "SLIPWAY_FILES_MAX_MIB": not 0 < settings.FILES_AT_MOST_BYTES <= 2**30,
    }
    return [
        Error(f"{name} cannot be what it is.", hint=POLICY[name], id="slipway.E003")
        for name, is_wrong in wrong.items()
        if is_wrong
    ]


@register(Tags.security, deploy=True)
def https(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Consoles carry passwords: in production the portal and the gateway are reached over TLS."""
    if settings.PORTAL_URL.startswith("https://") and settings.GATEWAY_URL.startswith("https://"):
        return []
    return [Warning("Portal or gateway are not reached over HTTPS.", id="slipway.W001")]
