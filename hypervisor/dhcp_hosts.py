"""The DHCP host entries of a network: one small file for each card, in a folder that dnsmasq reads (`dhcp-hostsdir`).

Not libvirt's own host entries: changing one makes libvirt 9.0 take down and rebuild all firewall rules of the network,
0.7 to 1.2 s in which no guest on it reaches anything. A file's name carries the whole entry, so listing the folder
tells all.
"""

import contextlib
import fcntl
import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path

from .errors import AlreadyExists, BadSpec, HypervisorError

_NAME = re.compile(r"((?:[0-9a-f]{2}-){5}[0-9a-f]{2})_([0-9.]+)")


class DhcpHosts:
    """The entries in one folder. Whoever changes them makes dnsmasq read the folder again afterwards."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make_folder(self) -> None:
        """The folder exists and dnsmasq's user can read it; without it dnsmasq does not start."""
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else, in whatever process, is between reading the entries and acting on them."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # then there are none
            yield
            return
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def entries(self) -> dict[str, str]:
        """MAC -> address; empty where there is no folder."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return {}
        found = (_NAME.fullmatch(name) for name in names)
        return {match[1].replace("-", ":"): match[2] for match in found if match}

    def put(self, mac: str, address: str) -> bool:
        """Gives the card this address alone; returns whether anything changed.

        AlreadyExists when another card has it, BadSpec when it is no address.
        """
        path = self._path(mac, address)
        entries = self.entries()
        before = entries.pop(mac, None)
        if before == address:
            return False
        if address in entries.values():
            raise AlreadyExists(f"the address {address} belongs to another card")
        try:
            temporary = path.with_name(f".{path.name}")  # dnsmasq skips names with a leading dot
            temporary.write_text(f"{mac},{address}\n")
            temporary.chmod(0o644)
            temporary.replace(path)
        except OSError as error:
            raise HypervisorError(str(error)) from error
        if before is not None:
            self._path(mac, before).unlink(missing_ok=True)
        return True

    def drop(self, mac: str) -> str | None:
        """Forgets the card; returns the address that it had."""
        address = self.entries().get(mac)
        if address is not None:
            self._path(mac, address).unlink(missing_ok=True)
        return address

    def remove_folder(self) -> None:
        """Removes the folder with all entries; other files in it are left, and so is then the folder."""
        for mac in self.entries():
            self.drop(mac)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _path(self, mac: str, address: str) -> Path:
        return self._folder / entry_name(mac, address)


def entry_name(mac: str, address: str) -> str:
    """The name of the file that gives this card this address; BadSpec for what is no MAC in small letters or IPv4."""
    name = f"{mac.replace(':', '-')}_{address}"
    if not _NAME.fullmatch(name):
        raise BadSpec(f"not a card's MAC and IPv4 address: {mac!r} {address!r}")
    try:
        ipaddress.IPv4Address(address)
    except ValueError as error:
        raise BadSpec(str(error)) from error
    return name
