"""A folder of a guest as a page shows it: names and sizes that the guest says, with ways to get them."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from django.urls import reverse

from vms.models import VirtualMachine

from ..gateway_runs import Entry
from .runs import size

SHOWN = 200
ICONS = {"folder": "folder", "file": "file"}


def home_of(vm: VirtualMachine) -> str:
    """Where people's own files are: the default user's home."""
    return f"/home/{vm.image.default_user}"


def _printable(name: str) -> str:
    """Return a name without what would change the text around it, such as a line's end or a turn of direction."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)


@dataclass(frozen=True, slots=True)
class EntryView:
    """One name in a folder."""

    vm: VirtualMachine
    folder: str
    entry: Entry

    @property
    def name(self) -> str:
        """Its name, fit to be read."""
        return _printable(self.entry.name)

    @property
    def icon(self) -> str:
        """Its picture."""
        return ICONS.get(self.entry.kind, "file")

    @property
    def size(self) -> str:
        """How large a file is; "" for others."""
        return size(self.entry.size_bytes) if self.entry.kind == "file" else ""

    @property
    def _path(self) -> str:
        return f"{self.folder.rstrip('/')}/{self.entry.name}"

    @property
    def open_url(self) -> str:
        """Where a folder's own list is; "" for others."""
        return _list_url(self.vm, self._path) if self.entry.kind == "folder" else ""

    @property
    def get_url(self) -> str:
        """Where it is had, a folder as a tar; "" for what is none of both."""
        if self.entry.kind == "other":
            return ""
        return f"{reverse('api:get_file', args=[self.vm.pk])}?path={quote(self._path, safe='')}"


@dataclass(frozen=True, slots=True)
class FolderView:
    """What is in a folder, folders first, `SHOWN` at most."""

    vm: VirtualMachine
    path: str
    entries: Sequence[Entry]
    more: bool

    @property
    def name(self) -> str:
        """Its path, fit to be read."""
        return _printable(self.path)

    @property
    def up_url(self) -> str:
        """Where the list of the folder is that it is in; "" for the root and for what is no path."""
        above = self.path.rstrip("/").rpartition("/")[0]
        return _list_url(self.vm, above or "/") if self.path.startswith("/") and self.path.strip("/") else ""

    @property
    def here_url(self) -> str:
        """Where it is listed again."""
        return _list_url(self.vm, self.path)

    @property
    def shown(self) -> list[EntryView]:
        """What a page shows of it."""
        return [EntryView(self.vm, self.path, entry) for entry in self.entries[:SHOWN]]

    @property
    def left_out(self) -> bool:
        """Is there more in it?"""
        return self.more or len(self.entries) > SHOWN


def _list_url(vm: VirtualMachine, path: str) -> str:
    return f"{reverse('sandboxes:folder', args=[vm.pk])}?path={quote(path, safe='', errors='replace')}"
