"""Domains: define, power, facts. Power verbs look first: what libvirt answers differs between its drivers."""

import contextlib
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import libvirt

from hypervisor.domain_xml import (
    build_domain,
    device_inventory,
    disk_files,
    foreign_devices,
    machine_family,
    parse_domain,
)
from hypervisor.errors import AlreadyExists, BadSpec, NotFound, WrongState
from hypervisor.specs import DomainFacts, DomainSpec, DomainState, HostFacts, OwnerTag

from . import records
from .bounded import Bounded, TooSlow
from .host import host_facts
from .link import Linked, verb
from .processes import own_memory_bytes
from .retrying import insist
from .stats import facts_from_stats
from .tags import TagCache, read_tag
from .translate import domain_state
from .validating import checked

_UNDEFINE_WITH = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
_STATS_TIMEOUT_SECONDS = 5


class DomainVerbs(Linked):
    """The domain methods of `hypervisor.api.Hypervisor`."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._sampling = Bounded("libvirt-stats", most_at_once=1)
        self._tags = TagCache(self._link)

    def close(self) -> None:
        """Closes the connections."""
        self._tags.close()
        super().close()

    @verb
    def host(self) -> HostFacts:
        """The host; its capabilities are read once for each connection."""
        with self._link.use() as connection:
            if connection.capabilities is None:
                connection.capabilities = connection.libvirt.getCapabilities()
            return host_facts(connection.libvirt, connection.capabilities)

    @verb
    def domains(self, installation_id: str) -> list[DomainFacts]:
        """All domains that bear the installation's tag.

        A QEMU that hangs would hold up the statistics of all: after 5 s they are given without their counters.
        """
        self._tags.listen()
        transient = records.uuids(self._conn, libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
        saved = records.uuids(self._conn, libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
        found = []
        seen = self._records()
        for uuid, name, stats in seen:
            owner = self._tags.tag(uuid, name, partial(self._read_tag, uuid))
            if owner is not None and owner.installation_id == installation_id:
                facts = facts_from_stats(name, uuid, stats, saved=uuid in saved)
                found.append(replace(facts, owner=owner, persistent=uuid not in transient))
        self._tags.keep_only({uuid for uuid, _, _ in seen})
        return found

    def _records(self) -> list[records.Record]:
        """All domains with their statistics."""
        if not self._is_mock:  # its statistics are all but empty
            with contextlib.suppress(TooSlow):
                return self._sampling.call(self._sample, _STATS_TIMEOUT_SECONDS)
        return records.plain(self._conn)

    def _sample(self) -> list[records.Record]:
        """Runs in a thread, and so on a connection, of its own: it may hang."""
        with self._link.use() as connection:
            return records.sampled(connection.libvirt)

    def _read_tag(self, uuid: UUID) -> OwnerTag | None:
        try:
            return read_tag(self._lookup(uuid))
        except NotFound:
            return None

    @verb
    def domain(self, uuid: UUID) -> DomainFacts | None:
        """One domain without its counters, or None. Asks no QEMU, so it answers also when that hangs."""
        with contextlib.suppress(NotFound):
            return self._read_facts(uuid)
        return None

    @verb
    def state(self, uuid: UUID) -> DomainState | None:
        """The state of one domain, or None. Two questions to libvirtd, where `domain` has six."""
        with contextlib.suppress(NotFound):
            return self._read_state(uuid)
        return None

    @verb  # so that a domain that goes while it is read is NotFound, too
    def _read_facts(self, uuid: UUID) -> DomainFacts:
        found = self._lookup(uuid)
        saved = bool(found.hasManagedSaveImage(0))
        facts = facts_from_stats(found.name(), uuid, records.plain_stats(found), saved=saved)
        return replace(facts, owner=read_tag(found), persistent=bool(found.isPersistent()))

    @verb
    def _read_state(self, uuid: UUID) -> DomainState:
        found = self._lookup(uuid)
        state, reason = found.state(0)
        saved = state == libvirt.VIR_DOMAIN_SHUTOFF and bool(found.hasManagedSaveImage(0))
        return domain_state(state, reason, saved=saved)[0]

    @verb
    def define(self, spec: DomainSpec) -> None:
        """Defines the domain, or redefines it while it is off; then compares what libvirt made of it with the spec.

        Raises AlreadyExists when the name belongs to another domain, WrongState when it is active and differs,
        BadSpec when libvirt refuses the XML or makes another domain of it, which is then undefined again.
        """
        text = build_domain(spec)
        before = self._existing(spec)
        if before is not None and before.isPersistent() and not differences(spec, text, before):
            return
        if before is not None and before.isActive():
            raise WrongState(f"{spec.name} is active and differs from the spec")
        if before is not None and before.name() != spec.name:
            before.rename(spec.name, 0)
        domain = self._conn.defineXMLFlags(text, checked(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE))
        self._tags.forget(spec.uuid)
        differing = differences(spec, text, domain)
        if differing:
            if before is None:
                domain.undefineFlags(self._undefine_flags)
            raise BadSpec(f"libvirt made another domain of it: {differing}")

    def _existing(self, spec: DomainSpec) -> Any | None:
        """The domain with the spec's UUID, if there is one; AlreadyExists when another has its name."""
        with contextlib.suppress(libvirt.libvirtError):
            if UUID(bytes=self._conn.lookupByName(spec.name).UUID()) != spec.uuid:
                raise AlreadyExists(f"the name {spec.name} belongs to another domain")
        try:
            return self._lookup(spec.uuid)
        except NotFound:
            return None

    @verb
    def undefine(self, uuid: UUID) -> None:
        """Forgets a domain that is off, with its saved memory and the records of its snapshots."""
        try:
            domain = self._lookup(uuid)
        except NotFound:
            return
        if domain.isActive():
            raise WrongState("the domain is active")
        domain.undefineFlags(self._undefine_flags)
        self._tags.forget(uuid)

    @verb
    def start(self, uuid: UUID) -> None:
        """Starts a domain that is off, continues a suspended one, or clears a crashed one away and starts it."""
        domain = self._lookup(uuid)
        state = _state(domain)
        if state is DomainState.CRASHED:
            domain.destroyFlags(0)
        elif domain.isActive():
            raise WrongState(f"the domain is {state}")
        insist(domain.create)

    @verb
    def shutdown(self, uuid: UUID) -> None:
        """Presses the guest's power button."""
        flags = 0 if self._is_mock else libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
        self._in_state(uuid, DomainState.RUNNING).shutdownFlags(flags)

    @verb
    def reboot(self, uuid: UUID) -> None:
        """Asks the guest to shut down and lets it start again when it has."""
        flags = 0 if self._is_mock else libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN
        self._in_state(uuid, DomainState.RUNNING).reboot(flags)

    @verb
    def force_off(self, uuid: UUID) -> None:
        """Ends the domain's QEMU, whatever the guest does."""
        domain = self._lookup(uuid)
        if not domain.isActive():
            raise WrongState("the domain is off")
        domain.destroyFlags(0)

    @verb
    def reset(self, uuid: UUID) -> None:
        """Presses the reset button; a paused domain stays paused."""
        self._in_state(uuid, DomainState.RUNNING, DomainState.PAUSED).reset(0)

    @verb
    def pause(self, uuid: UUID) -> None:
        """Halts the processors."""
        self._in_state(uuid, DomainState.RUNNING).suspend()

    @verb
    def resume(self, uuid: UUID) -> None:
        """Lets the processors run on, also after an I/O error; never those of a panicked guest."""
        self._in_state(uuid, DomainState.PAUSED).resume()

    @verb
    def disk_paths(self, uuid: UUID) -> list[PurePosixPath]:
        """The files behind the domain's disks, the seed among them, without base images."""
        return disk_files(self._lookup(uuid).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

    @verb
    def foreign_devices(self, uuid: UUID, disks: Collection[PurePosixPath], macs: Collection[str]) -> list[str]:
        """What the domain's definition, or its QEMU, has that is none of ours."""
        domain = self._lookup(uuid)
        texts = [domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
        if domain.isActive():
            texts.append(domain.XMLDesc(0))
        return sorted({word for text in texts for word in foreign_devices(text, disks, macs)})

    @verb
    def own_memory(self, uuid: UUID) -> int | None:
        """Bytes of its QEMU that no other process has; None where it has none, or it cannot be told."""
        domain = self._lookup(uuid)
        return None if self._is_mock else own_memory_bytes(domain.name())

    @property
    def _undefine_flags(self) -> int:
        return int(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE if self._is_mock else _UNDEFINE_WITH)

    def _lookup(self, uuid: UUID) -> Any:
        """The libvirt domain; NotFound when there is none."""
        try:
            return self._conn.lookupByUUID(uuid.bytes)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                raise NotFound(f"domain {uuid}") from error
            raise

    def _in_state(self, uuid: UUID, *legal: DomainState) -> Any:
        """The libvirt domain; WrongState unless it is in one of these states."""
        domain = self._lookup(uuid)
        state = _state(domain)
        if state not in legal:
            raise WrongState(f"the domain is {state}")
        return domain


def _state(domain: Any) -> DomainState:
    state, reason = domain.state(0)
    return domain_state(state, reason, saved=False)[0]


def differences(spec: DomainSpec, text: str, domain: Any) -> str:
    """What libvirt's record of the domain has that was not asked for, or lacks; "" when it is as asked."""
    made = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    asked_for, inventory = device_inventory(text), device_inventory(made)
    if asked_for != inventory:
        return f"devices {inventory} instead of {asked_for}"
    parsed, wanted = parse_domain(made), replace(spec, machine=machine_family(spec.machine))
    fields = [name for name in DomainSpec.__slots__ if getattr(parsed, name) != getattr(wanted, name)]
    return ", ".join(f"{name} {getattr(parsed, name)!r}" for name in fields)
