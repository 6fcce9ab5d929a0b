"""Networks: ours with NAT, a filter against spoofing, and one DHCP host entry for each card."""

import contextlib
import logging
import subprocess
from pathlib import Path
from typing import Any

import libvirt

from hypervisor import nft_guard
from hypervisor.dhcp_hosts import DhcpHosts
from hypervisor.dhcp_release import release_lease
from hypervisor.errors import AlreadyExists, BadSpec, NotFound
from hypervisor.network_xml import (
    build_filter,
    build_network,
    build_reload,
    dnsmasq_options,
    parse_binding,
    parse_network,
)
from hypervisor.nft_guard import build_admission, build_dismissal, build_guard, parse_guests, table_name
from hypervisor.nft_rules import build_removal, build_table
from hypervisor.specs import FirewallSpec, NetworkKind, NetworkSpec

from . import nft
from .link import Linked, verb

log = logging.getLogger(__name__)

_IP_SECONDS = 10


class NetworkVerbs(Linked):
    """The network methods of `hypervisor.api.Hypervisor`."""

    @verb
    def ensure_network(self, spec: NetworkSpec) -> None:
        """The network and its filter exist, and it is active.

        The filter is brought up to date, also for the cards that use it now; a guard that somebody took away comes back
        with the addresses that have been given out. A network of that name that differs is replaced while no card uses
        it; AlreadyExists otherwise.
        """
        if spec.filter_name and not self._is_mock:  # that one has no filters
            self._conn.nwfilterDefineXMLFlags(build_filter(spec), libvirt.VIR_NWFILTER_DEFINE_VALIDATE)
        hosts = DhcpHosts(Path(spec.hosts_dir))
        hosts.make_folder()
        if not spec.filter_name:
            with hosts.locked():  # a card that is dismissed meanwhile must not come back
                nft.run(build_guard(spec.name, hosts.entries()), dry=self._is_mock)
        network = self._network_as(spec)
        if not network.isActive():
            network.create()
        if not network.autostart():
            network.setAutostart(1)

    def _network_as(self, spec: NetworkSpec) -> Any:
        """The libvirt network, defined as the spec says."""
        text = build_network(spec)
        with contextlib.suppress(NotFound):
            network = self._network(spec.name)
            same = _parsed(network) == spec
            if same and (self._is_mock or dnsmasq_options(network.XMLDesc(0)) == dnsmasq_options(text)):
                return network
            if not network.isActive() or not network.listAllPorts(0):
                if network.isActive():
                    network.destroy()
                network.undefine()
            elif not same:
                raise AlreadyExists(f"the network {spec.name} is in use and differs from the spec")
        # Where only dnsmasq's options differ and cards are in use, they change when the network starts next.
        return self._conn.networkDefineXMLFlags(text, libvirt.VIR_NETWORK_DEFINE_VALIDATE)

    @verb
    def remove_network(self, name: str, filter_name: str) -> None:
        """Neither the network nor its filter nor its host entries exist."""
        with contextlib.suppress(NotFound):
            network = self._network(name)
            spec = _parsed(network)
            if network.isActive():
                network.destroy()
            network.undefine()
            if spec is not None:
                DhcpHosts(Path(spec.hosts_dir)).remove_folder()
                if not spec.filter_name:
                    nft.run(nft_guard.build_removal(spec.name), dry=self._is_mock)
        if not filter_name:
            return
        try:
            self._conn.nwfilterLookupByName(filter_name).undefine()
        except libvirt.libvirtError as error:
            if error.get_error_code() not in {libvirt.VIR_ERR_NO_NWFILTER, libvirt.VIR_ERR_NO_SUPPORT}:
                raise

    @verb
    def ensure_address(self, network: str, mac: str, address: str) -> None:
        """DHCP gives this card this address, and the filter lets it send; AlreadyExists when another card has it."""
        found, spec = self._ours(network)
        hosts = DhcpHosts(Path(spec.hosts_dir))
        with hosts.locked():
            before = hosts.entries().get(mac.lower()) if not spec.filter_name else None
            moved = before not in (None, address)
            if moved:  # first: once the entry has gone, nobody knows any more what is to be taken back
                nft.run(build_dismissal(spec.name, mac, str(before)), dry=self._is_mock)
            changed = hosts.put(mac.lower(), address)
            if not spec.filter_name:
                nft.run(build_admission(spec.name, mac, address), dry=self._is_mock)
        if changed:
            _reload(found, spec)
        if moved:
            self._release_leases(found, spec, mac)

    @verb
    def remove_address(self, network: str, mac: str) -> None:
        """The card may send nothing, and DHCP knows neither it nor a lease of its address: another may have it now."""
        found, spec = self._ours(network)
        hosts = DhcpHosts(Path(spec.hosts_dir))
        with hosts.locked():
            had = hosts.entries().get(mac.lower()) or self._let_through(spec, mac)
            if had is not None and not spec.filter_name:  # first, as above
                nft.run(build_dismissal(spec.name, mac, had), dry=self._is_mock)
            dropped = hosts.drop(mac.lower())
        if dropped is not None:
            _reload(found, spec)
        if had is not None:
            self._forget_neighbour(spec, had)
        self._release_leases(found, spec, mac)

    def _let_through(self, spec: NetworkSpec, mac: str) -> str | None:
        """The address that the guard lets a card send from which has no entry: somebody took that alone away."""
        if self._is_mock or spec.filter_name:
            return None
        with contextlib.suppress(NotFound):
            return _guests(spec.name).get(mac.lower())
        return None

    def _forget_neighbour(self, spec: NetworkSpec, address: str) -> None:
        """Lets the host ask anew who has this address: for up to a minute it would send to the card that had it."""
        if self._is_mock or spec.kind is NetworkKind.ISOLATED:
            return
        command = ["ip", "neighbour", "delete", address, "dev", spec.bridge]
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # it had none, or asks anew by itself
            subprocess.run(command, check=False, capture_output=True, timeout=_IP_SECONDS)

    def _release_leases(self, found: Any, spec: NetworkSpec, mac: str) -> None:
        if self._is_mock or spec.kind is NetworkKind.ISOLATED or not found.isActive():
            return
        for lease in found.DHCPLeases(mac, 0):
            try:
                release_lease(spec.bridge, spec.gateway, lease["ipaddr"], mac)
            except OSError as error:  # it then ends by itself, within the hour
                log.warning("lease of %s not released: %s", lease["ipaddr"], error)

    @verb
    def addresses(self, network: str) -> dict[str, str]:
        """The DHCP host entries: MAC -> address."""
        _, spec = self._ours(network)
        return DhcpHosts(Path(spec.hosts_dir)).entries()

    @verb
    def admitted(self, network: str) -> dict[str, str]:
        """Which cards the network's filter lets send, and from which address: its bindings, or its guard's set.

        NotFound when there is no network, or no guard. A mock host filters nothing.
        """
        _, spec = self._ours(network)
        if self._is_mock:
            return {}
        if not spec.filter_name:
            return _guests(spec.name)
        cards: dict[str, str] = {}
        for binding in self._conn.listAllNWFilterBindings(0):
            with contextlib.suppress(libvirt.libvirtError):  # its domain has just gone, and it with it
                if binding.filterName() == spec.filter_name:
                    cards.update([parse_binding(binding.XMLDesc(0))])
        return cards

    @verb
    def ensure_firewall(self, spec: FirewallSpec) -> None:
        """The table is as the spec says; replaced in one step, so there is no moment without it."""
        nft.run(build_table(spec), dry=self._is_mock)

    @verb
    def remove_firewall(self, name: str) -> None:
        """There is no such table."""
        nft.run(build_removal(name), dry=self._is_mock)

    def _network(self, name: str) -> Any:
        """The libvirt network; NotFound when there is none."""
        try:
            return self._conn.networkLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
                raise NotFound(f"network {name}") from error
            raise

    def _ours(self, name: str) -> tuple[Any, NetworkSpec]:
        network = self._network(name)
        return network, parse_network(network.XMLDesc(0))


def _parsed(network: Any) -> NetworkSpec | None:
    try:
        return parse_network(network.XMLDesc(0))
    except BadSpec:
        return None


def _reload(network: Any, spec: NetworkSpec) -> None:
    """Makes dnsmasq read the host entries again, now.

    Where two do this at once, one finds the entry there or gone already: then the other's change came after this file.
    """
    if not network.isActive() or spec.kind is NetworkKind.ISOLATED:
        return
    entry, dns = build_reload(spec.gateway), libvirt.VIR_NETWORK_SECTION_DNS_HOST
    for command in (libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE):
        try:
            network.update(command, dns, -1, entry, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
                raise


def _guests(network: str) -> dict[str, str]:
    """What the guard of a network lets send; NotFound when there is no such table."""
    try:
        return parse_guests(nft.listed(f"set bridge {table_name(network)} guests"))
    except nft.NftRefused as error:
        raise NotFound(f"guard of {network}: {error.detail}") from error
