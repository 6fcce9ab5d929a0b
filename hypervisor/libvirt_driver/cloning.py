"""Clones of frozen domains, and domains that are paused to disk."""

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import libvirt

from hypervisor.clone_shape import misfits
from hypervisor.domain_memory import Ram, forget_file
from hypervisor.domain_xml import build_clone, build_domain
from hypervisor.errors import BadSpec, NotFound, NotSupported, WrongState
from hypervisor.frozen_files import FrozenFolder
from hypervisor.specs import DomainSpec, DomainState
from hypervisor.xml_text import from_text, to_text

from . import monitor, ram_holders
from .domains import differences
from .freezing import STATE_TIMEOUT_SECONDS, FreezeVerbs
from .link import verb
from .retrying import insist
from .validating import checked


class CloneVerbs(FreezeVerbs):
    """`clone` and `save` of `hypervisor.api.Hypervisor`."""

    @verb
    def clone(self, spec: DomainSpec, folder: PurePosixPath, share_ram: bool) -> None:
        """A paused domain that will go on where the frozen one stood.

        It is made without a definition, is loaded, and only then is defined, as an ordinary domain: so one that is
        defined is complete, and one that is not was left half made and is made anew. Raises NotFound when nothing is
        frozen there, BadSpec when the spec, or this host, does not fit it, WrongState when the clone is off.
        """
        if self._is_mock:
            raise NotSupported("the mock driver has no guests")
        files = FrozenFolder(Path(folder))
        self._check_fit(spec, files)
        before = self._existing(spec)
        if before is not None and before.isPersistent():
            if not before.isActive():
                raise WrongState(f"{spec.name} is off")
            return
        if before is not None:
            self._destroy(before)
        with self._ram(files, share_ram) as ram:
            text = build_clone(spec, ram)
            flags = libvirt.VIR_DOMAIN_START_PAUSED | checked(text, libvirt.VIR_DOMAIN_START_VALIDATE)
            domain = insist(lambda: self._conn.createXML(text, flags))
            try:
                self._load(domain, spec, files)
                self._define_as(spec)
            except BaseException:
                self._destroy(domain)
                raise
        self._tags.forget(spec.uuid)

    def _check_fit(self, spec: DomainSpec, files: FrozenFolder) -> None:
        found = files.read()
        if found is None:
            raise NotFound(f"nothing is frozen in {files.path}")
        facts, shape = found
        problems = misfits(spec, shape)
        disk = spec.disks[0] if spec.disks else None
        if disk is None or (disk.base_path, disk.below) != (facts.disk, facts.disk_below):
            problems.append("the disk is not made on the frozen one")
        if facts.fingerprint != (here := self.fingerprint()):
            problems.append(f"frozen under {facts.fingerprint}, this is {here}")
        if problems:
            raise BadSpec("; ".join(problems))

    @contextlib.contextmanager
    def _ram(self, files: FrozenFolder, share_ram: bool) -> Iterator[Ram]:
        """Shared: what all clones have in common is in memory once. Else each has a copy, and no page of another."""
        if share_ram:
            yield Ram(ram_holders.keep(files, *self._qemu_user()))
            return
        with ram_holders.lend(files, *self._qemu_user()) as path:
            yield Ram(path, shared=True)

    def _define_as(self, spec: DomainSpec) -> None:
        text = build_domain(spec)
        domain = self._conn.defineXMLFlags(text, checked(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE))
        if differing := differences(spec, text, domain):
            domain.undefine()
            raise BadSpec(f"libvirt made another domain of it: {differing}")

    @staticmethod
    def _load(domain: Any, spec: DomainSpec, files: FrozenFolder) -> None:
        monitor.load_state(domain, files.state, STATE_TIMEOUT_SECONDS)
        for index, nic in enumerate(spec.nics):
            if not nic.linked:
                monitor.unplug(domain, f"net{index}")

    @staticmethod
    def _destroy(domain: Any) -> None:
        """Ends a domain; that it has ended already is as good."""
        try:
            domain.destroyFlags(0)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID}:
                raise

    @verb
    def save(self, uuid: UUID) -> None:
        """Writes the whole domain to disk and ends its QEMU; `start` lets it run on, also if it was paused."""
        domain = self._lookup(uuid)
        if domain.hasManagedSaveImage(0) and not domain.isActive():
            return
        domain = self._in_state(uuid, DomainState.RUNNING, DomainState.PAUSED)
        domain.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING)

    @verb
    def start(self, uuid: UUID) -> None:
        """As for any domain; a clone that was saved comes back with memory of its own."""
        domain = self._lookup(uuid)
        if not domain.isActive() and domain.hasManagedSaveImage(0):
            _detach_from_template(domain)
        super().start(uuid)


def _detach_from_template(domain: Any) -> None:
    """What was saved says where the clone's RAM was mapped from, and that may be gone."""
    root = from_text(domain.managedSaveGetXMLDesc(libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE))
    if forget_file(root):
        domain.managedSaveDefineXML(to_text(root), 0)
