"""Delete what one installation has in libvirt: its domains, networks, filters and pools, by their names.

Usage: wipe.py INSTALLATION_ID LIBVIRT_URI. Names of others never match: ours carry the installation id.
"""

import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

import libvirt

DOMAIN_FLAGS = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


def quietly(call: Callable[..., Any], *arguments: Any) -> None:
    """Call; what is gone already is what we want (the caller looks again afterwards)."""
    try:
        call(*arguments)
    except libvirt.libvirtError as error:
        print(f"  {error}")


def remove(item: Any, *undefine_arguments: Any) -> None:
    """Stop and forget one object."""
    print(f"deleting {type(item).__name__} {item.name()}")
    if not hasattr(item, "isActive") or item.isActive():
        quietly(getattr(item, "destroy", lambda: None))
    quietly(item.undefine if not undefine_arguments else item.undefineFlags, *undefine_arguments)


def pattern_of(installation: str) -> re.Pattern[str]:
    """Return what the names of an installation look like; SystemExit for an id that is none."""
    if not re.fullmatch(r"[0-9a-f]{8}", installation):
        sys.exit(f"{installation!r} is no installation id")
    return re.compile(rf"(sw|slipway)-{installation}(-|$)")


def ours(items: Iterable[Any], pattern: re.Pattern[str]) -> list[Any]:
    """Return the objects whose name is of this installation."""
    return [item for item in items if pattern.match(item.name())]


def main() -> None:
    """Delete everything, then fail if anything of it is still there."""
    installation, uri = sys.argv[1:]
    pattern = pattern_of(installation)
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open(uri)
    for domain in ours(connection.listAllDomains(), pattern):
        remove(domain, DOMAIN_FLAGS)
    listings = (
        connection.listAllNetworks,
        connection.listAllStoragePools,
        connection.listAllNWFilters,
        connection.listAllDomains,
    )
    for listing in listings[:-1]:
        for item in ours(listing(), pattern):
            remove(item)
    left = [item.name() for listing in listings for item in ours(listing(), pattern)]
    if left:
        sys.exit(f"still there: {', '.join(left)}")


if __name__ == "__main__":
    main()
