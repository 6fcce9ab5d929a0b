"""Freezing a domain into files that clones wake up from, and what becomes of the files."""

from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import libvirt

from hypervisor.clone_shape import shape_of
from hypervisor.domain_devices import are_ours
from hypervisor.domain_xml import parse_domain
from hypervisor.errors import BadSpec, HypervisorError, NotFound
from hypervisor.frozen_files import FrozenFolder
from hypervisor.specs import DomainSpec, DomainState, FrozenFacts
from hypervisor.xml_text import from_text

from . import monitor, ram_holders
from .guests import GuestVerbs
from .host import fingerprint, qemu_user
from .link import verb

STATE_TIMEOUT_SECONDS = 60


class FreezeVerbs(GuestVerbs):
    """`freeze` and its kin of `hypervisor.api.Hypervisor`."""

    @verb
    def fingerprint(self) -> str:
        """QEMU's version, the machine type that "q35" stands for, and the CPU."""
        return fingerprint(self._conn, self._capabilities())

    @verb
    def define(self, spec: DomainSpec) -> None:
        """As for any domain; one that is to be frozen has its RAM file made."""
        super().define(spec)
        if spec.memory is not None:
            folder = FrozenFolder(Path(spec.memory.path.parent))
            if not folder.ram.exists():
                folder.make_ram(spec.memory_mib, *self._qemu_user())

    @verb
    def freeze(self, uuid: UUID, folder: PurePosixPath) -> FrozenFacts:
        """Pauses the domain, writes what is not in files yet, and takes it away: only the folder is left.

        Each step leaves a trace in the folder, so it goes on where it was killed. Raises BadSpec when the domain's RAM
        is not in this folder, NotFound when it is gone before it was frozen, NoSpace when the disk is full.
        """
        files = FrozenFolder(Path(folder))
        if files.read() is None:
            if not files.state.exists():
                self._freeze_memory(self._in_state(uuid, DomainState.RUNNING, DomainState.PAUSED), files)
            self._freeze_disk(self._lookup(uuid), files)
        self._take_away(uuid)
        found = files.read()
        if found is None:
            raise HypervisorError(f"what was frozen in {folder} is incomplete")
        return found[0]

    def _freeze_memory(self, domain: Any, files: FrozenFolder) -> None:
        text = domain.XMLDesc(0)
        if not are_ours(from_text(text)):  # its manifest would say that they are
            raise BadSpec("the domain was started with other devices than clones have now")
        spec = parse_domain(text)
        if spec.memory is None or Path(spec.memory.path) != files.ram:
            raise BadSpec("the domain's memory is not in that folder")
        if domain.state(0)[0] == libvirt.VIR_DOMAIN_RUNNING:
            domain.suspend()
        if not monitor.is_saved(domain):
            monitor.save_state(domain, files.new_state, STATE_TIMEOUT_SECONDS)
        files.keep_state()

    def _freeze_disk(self, domain: Any, files: FrozenFolder) -> None:
        """The domain stays defined until all is kept: its XML tells where its disk was."""
        spec = parse_domain(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        if domain.isActive():
            domain.destroyFlags(0)
        disk = spec.disks[0]
        files.keep_disk(Path(disk.path))
        files.keep_ram()
        below = () if disk.base_path is None else (disk.base_path, *disk.below)
        files.write(self.fingerprint(), shape_of(spec), below)

    def _take_away(self, uuid: UUID) -> None:
        try:
            domain = self._lookup(uuid)
        except NotFound:
            return
        if domain.isActive():
            domain.destroyFlags(0)
        self.undefine(uuid)

    @verb
    def frozen(self, folder: PurePosixPath) -> FrozenFacts | None:
        """What is frozen in the folder; None while it is incomplete."""
        found = FrozenFolder(Path(folder)).read()
        return None if found is None else found[0]

    @verb
    def remove_frozen(self, folder: PurePosixPath) -> None:
        """Neither the folder nor a holder of its memory exists."""
        files = FrozenFolder(Path(folder))
        ram_holders.end(files)
        files.remove()

    def _capabilities(self) -> str:
        """Libvirt's capabilities, read once for each connection: the first time takes a second."""
        with self._link.use() as connection:
            if connection.capabilities is None:
                connection.capabilities = connection.libvirt.getCapabilities()
            return connection.capabilities

    def _qemu_user(self) -> tuple[int, int]:
        return qemu_user(self._capabilities())
