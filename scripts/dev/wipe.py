"""Delete what one installation has in libvirt and in the packet filter: domains, networks, pools, filters, tables.

Usage: wipe.py INSTALLATION_ID LIBVIRT_URI. Names of others never match: ours carry the installation id.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
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


def forget_templates(installation: str, uri: str) -> None:
    """End what holds frozen memory, and take our rules out of the packet filter."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from hypervisor.factory import open_hypervisor

    data = Path(os.environ.get("SLIPWAY_DATA_DIR") or f"/var/lib/slipway/{installation}")
    hypervisor = open_hypervisor(uri)
    for folder in sorted(data.glob("templates/*")):
        print(f"deleting template {folder.name}")
        hypervisor.remove_frozen(PurePosixPath(folder))
    hypervisor.remove_firewall(f"slipway_{installation}")
    hypervisor.close()


def tables(installation: str) -> list[tuple[str, str]]:
    """Return family and name of the installation's nftables tables; none where there is no nft."""
    try:
        answer = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"  {error}")
        return []
    found = re.findall(r"^table (\w+) (\w+)$", answer.stdout, re.MULTILINE)
    return [(family, name) for family, name in found if re.match(r"slipway_.*" + installation, name)]


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
    forget_templates(installation, uri)
    for family, name in tables(installation):
        print(f"deleting table {family} {name}")
        subprocess.run(["nft", "delete", "table", family, name], check=False, timeout=10)
    left = [" ".join(table) for table in tables(installation)]
    left += [item.name() for listing in listings for item in ours(listing(), pattern)]
    if left:
        sys.exit(f"still there: {', '.join(left)}")


if __name__ == "__main__":
    main()
