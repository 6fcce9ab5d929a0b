"""What people type about templates, leases and runs, checked. Each `check_*` adds sentences to `errors`."""

import re

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from vms.wellformed import Errors

from ..states import NetworkMode

TEMPLATE_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,48}[a-z0-9])?")
SCRIPT_AT_MOST_BYTES = 64 * 1024
POOL_AT_MOST = 50


def check_template_name(name: str, errors: Errors) -> None:
    """A template's name begins the names of its sandboxes, so it is a host name's beginning."""
    if len(name) > 50 or not TEMPLATE_NAME.fullmatch(name):
        errors["name"] = [
            _("Use small letters, digits and hyphens, a letter first, at most 50: sandboxes are named after it.")
        ]


def check_script(script: str, errors: Errors) -> None:
    """An executable text: what it is run by stands in its first line."""
    if len(script.encode("utf-8", "replace")) > SCRIPT_AT_MOST_BYTES:
        errors["ready_script"] = [_("At most 64 KiB. Let the guest fetch what is larger.")]
    elif "\x00" in script:
        errors["ready_script"] = [_("Zero bytes cannot be kept.")]
    elif script and not script.startswith("#!"):
        errors["ready_script"] = [_("A script begins with what runs it, such as #!/bin/sh.")]


def check_lease(minutes: int, errors: Errors, field: str = "lease_minutes") -> None:
    """A lease is as long as policy allows."""
    least, most = settings.SANDBOX_LEASE_MINUTES
    if not least <= minutes <= most:
        errors[field] = [_("A lease has %(least)s to %(most)s minutes.") % {"least": least, "most": most}]


def check_idle(minutes: int | None, errors: Errors) -> None:
    """How long a sandbox may lie unused: no longer than any lease lasts, or it means nothing."""
    most = settings.SANDBOX_LEASE_MINUTES[1]
    if minutes is not None and not 1 <= minutes <= most:
        errors["idle_minutes"] = [_("From 1 to %(most)s minutes, or nothing.") % {"most": most}]


def check_network(network: str, errors: Errors) -> None:
    if network not in NetworkMode.values:
        errors["network"] = [_("A network is none, isolated or nat.")]
