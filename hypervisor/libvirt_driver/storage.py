"""Pools and volumes.

What libvirt records of a volume is, after a restart of libvirtd, what it read in the file's own header, and QEMU writes
that file: take it as a hint, for sizes. Formats and base images are always said by us, in the XML of volume and domain.
Seeds are written into the pool's folder directly, complete or not at all: an upload through libvirt is not atomic and
makes it scan the whole pool each time. The driver runs on the host of its libvirtd, so the folder is there.
"""

import contextlib
import errno
import os
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import Any

import libvirt

from hypervisor.errors import AlreadyExists, BadSpec, HypervisorError, NoSpace, NotFound, NotSupported
from hypervisor.qcow2_header import is_whole
from hypervisor.seed import DIGEST_LENGTH, DIGEST_OFFSET, build_seed, seed_digest
from hypervisor.specs import PoolFacts, PoolSpec, SeedSpec, VolumeFacts, VolumeSpec
from hypervisor.volume_xml import build_pool, build_volume, check_name, parse_pool, parse_volume

from .link import Linked, verb

_MAKING_SECONDS = 1.0
_BUSY_SECONDS = 10.0
_POLL_SECONDS = 0.05


class StorageVerbs(Linked):
    """The storage methods of `hypervisor.api.Hypervisor`."""

    @verb
    def ensure_pool(self, spec: PoolSpec) -> PoolFacts:
        """The pool exists, is active and starts with libvirtd; AlreadyExists when it is in another folder."""
        try:
            pool = self._pool(spec.name)
        except NotFound:
            with contextlib.suppress(libvirt.libvirtError):  # another process was quicker, or the next line tells
                self._conn.storagePoolDefineXML(build_pool(spec), libvirt.VIR_STORAGE_POOL_DEFINE_VALIDATE)
            pool = self._pool(spec.name)
        if parse_pool(pool.XMLDesc(0)) != spec:
            raise AlreadyExists(f"the pool {spec.name} is in another folder")
        if not pool.isActive():
            with contextlib.suppress(libvirt.libvirtError):
                pool.build(0)
                pool.create(0)
            if not pool.isActive():
                pool.create(0)
        if not pool.autostart():
            pool.setAutostart(1)
        return self.pool(spec.name)

    @verb
    def remove_pool(self, name: str) -> None:
        """Makes libvirt forget the pool; the folder and what is in it stay."""
        try:
            pool = self._pool(name)
        except NotFound:
            return
        if pool.isActive():
            pool.destroy()
        pool.undefine()

    @verb
    def pool(self, name: str) -> PoolFacts:
        """How large and full the pool is, as its file system says: libvirt's figures are as old as its last scan."""
        pool = self._pool(name)
        path = _path_of(pool)
        capacity, free = pool.info()[1], pool.info()[3]
        with contextlib.suppress(FileNotFoundError):
            room = os.statvfs(path)
            capacity, free = room.f_frsize * room.f_blocks, room.f_frsize * room.f_bavail
        return PoolFacts(name, path, capacity, free, active=bool(pool.isActive()))

    @verb
    def volumes(self, pool: str) -> list[VolumeFacts]:
        """All files of the pool as they are now."""
        found = self._pool(pool)
        with contextlib.suppress(libvirt.libvirtError):  # refused while a volume is being made
            found.refresh(0)
        facts = []
        for volume in found.listAllVolumes(0):
            with contextlib.suppress(libvirt.libvirtError):  # it went meanwhile
                facts.append(_facts(pool, volume))
        return facts

    @verb
    def volume(self, pool: str, name: str) -> VolumeFacts | None:
        """One volume, or None."""
        found = self._volume(self._pool(pool), name)
        return None if found is None else _facts(pool, found)

    @verb
    def ensure_volume(self, spec: VolumeSpec) -> VolumeFacts:
        """The qcow2 volume exists; AlreadyExists when one of that name is smaller or has another base image."""
        text = build_volume(spec)
        pool = self._pool(spec.pool)
        found = self._volume(pool, spec.name)
        if found is None:
            try:
                return _facts(spec.pool, pool.createXML(text, 0))
            except libvirt.libvirtError:
                found = _recorded(pool, spec.name)
                if found is None:
                    raise
        self._check(found, spec)
        return _facts(spec.pool, found)

    @staticmethod
    def _check(volume: Any, spec: VolumeSpec) -> None:
        """AlreadyExists unless it is what was asked for. One that somebody is just making gets time to become it."""
        deadline = time.monotonic() + _MAKING_SECONDS
        while (difference := _difference(volume, spec)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if difference:
            raise AlreadyExists(f"the volume {spec.name} is another one: {difference}")

    @verb
    def grow_volume(self, pool: str, name: str, size_bytes: int) -> VolumeFacts:
        """The volume, which no running domain uses, has at least this size; BadSpec when it is larger already."""
        found = self._volume(self._pool(pool), name)
        if found is None:
            raise NotFound(f"volume {name}")
        size = found.info()[1]
        if size_bytes < size:
            raise BadSpec(f"a volume never shrinks, from {size} to {size_bytes}")
        if size_bytes > size:
            found.resize(size_bytes, 0)
        return _facts(pool, found)

    @verb
    def ensure_seed(self, pool: str, name: str, spec: SeedSpec) -> VolumeFacts:
        """The ISO image of the seed is in the pool, with these contents; an image with others is replaced."""
        folder = Path(_path_of(self._pool(pool)))
        if not folder.is_dir():
            raise NotSupported("the mock driver's pools have no folder")
        path = folder / check_name(name)
        if _digest_in(path) != seed_digest(spec):
            _write(path, build_seed(spec))
        status = path.stat()
        return VolumeFacts(pool, name, PurePosixPath(path), status.st_size, status.st_blocks * 512)

    @verb
    def remove_volume(self, pool: str, name: str) -> None:
        """Neither libvirt nor the folder has it."""
        found = self._pool(pool)
        with contextlib.suppress(libvirt.libvirtError):
            found.storageVolLookupByName(check_name(name)).delete(0)
        Path(_path_of(found), check_name(name)).unlink(missing_ok=True)
        if self._volume(found, name) is not None:
            raise HypervisorError(f"the volume {name} is still there")

    def _pool(self, name: str) -> Any:
        """The libvirt pool; NotFound when there is none."""
        try:
            return self._conn.storagePoolLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise NotFound(f"pool {name}") from error
            raise

    @staticmethod
    def _volume(pool: Any, name: str) -> Any | None:
        """The libvirt volume, or None. Where libvirt's record and the folder differ, libvirt looks again.

        It refuses to while it makes a volume, so this may take a moment.
        """
        folder = Path(_path_of(pool))
        path = folder / check_name(name)
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            recorded = _recorded(pool, name)
            if not folder.is_dir() or path.exists() == (recorded is not None):
                return recorded
            try:
                pool.refresh(0)
                return _recorded(pool, name)
            except libvirt.libvirtError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)


def _difference(volume: Any, spec: VolumeSpec) -> str:
    """How a volume differs from what was asked for; "" when it is that, or larger."""
    try:
        made = parse_volume(volume.XMLDesc(0), spec.pool)
    except (BadSpec, libvirt.libvirtError) as error:
        return str(error)
    return str(made) if made.size_bytes < spec.size_bytes or made.base_path != spec.base_path else ""


def _recorded(pool: Any, name: str) -> Any | None:
    try:
        return pool.storageVolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
            return None
        raise


def _path_of(pool: Any) -> PurePosixPath:
    return parse_pool(pool.XMLDesc(0)).path


def _facts(pool: str, volume: Any) -> VolumeFacts:
    _, capacity, allocation = volume.info()
    path = PurePosixPath(volume.path())
    return VolumeFacts(pool, volume.name(), path, capacity, allocation, whole=is_whole(path))


def _digest_in(path: Path) -> str:
    """The digest in a seed that is there already; "" when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(DIGEST_OFFSET)
            return file.read(DIGEST_LENGTH).decode("ascii", "replace")
    except FileNotFoundError:
        return ""


def _write(path: Path, content: bytes) -> None:
    """The file has this content, or is as it was before. Readable by root alone until a domain uses it."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".seed-", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpace(str(error)) from error
        raise HypervisorError(str(error)) from error
