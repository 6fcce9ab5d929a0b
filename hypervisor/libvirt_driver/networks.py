"""Networks: ours with NAT, a filter against spoofing, and one DHCP host entry for each card."""

import contextlib
from typing import Any

import libvirt

from hypervisor.dhcp_release import release_lease
from hypervisor.errors import AlreadyExists, BadSpec, NotFound
from hypervisor.network_xml import build_filter, build_host, build_network, parse_hosts, parse_network
from hypervisor.specs import NetworkSpec

from .link import Linked, verb

_HOSTS = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST


class NetworkVerbs(Linked):
    """The network methods of `hypervisor.api.Hypervisor`."""

    @verb
    def ensure_network(self, spec: NetworkSpec) -> None:
        """The network and its filter exist, and it is active; AlreadyExists when its name stands for another one.

        The filter is brought up to date, also for the cards that use it now.
        """
        conn = self._conn
        conn.nwfilterDefineXMLFlags(build_filter(spec), libvirt.VIR_NWFILTER_DEFINE_VALIDATE)
        try:
            network = self._network(spec.name)
        except NotFound:
            conn.networkDefineXMLFlags(build_network(spec), libvirt.VIR_NETWORK_DEFINE_VALIDATE)
            network = self._network(spec.name)
        if _parsed(network) != spec:
            raise AlreadyExists(f"the network {spec.name} differs from the spec")
        if not network.isActive():
            network.create()
        if not network.autostart():
            network.setAutostart(1)

    @verb
    def remove_network(self, name: str, filter_name: str) -> None:
        """Neither the network nor its filter exists."""
        with contextlib.suppress(NotFound):
            network = self._network(name)
            if network.isActive():
                network.destroy()
            network.undefine()
        try:
            self._conn.nwfilterLookupByName(filter_name).undefine()
        except libvirt.libvirtError as error:
            if error.get_error_code() not in {libvirt.VIR_ERR_NO_NWFILTER, libvirt.VIR_ERR_NO_SUPPORT}:
                raise

    @verb
    def ensure_address(self, network: str, mac: str, address: str) -> None:
        """DHCP gives this card this address; AlreadyExists when another card has it."""
        found = self._network(network)
        entries = parse_hosts(found.XMLDesc(0))
        mac = mac.lower()
        if entries.get(mac) == address:
            return
        if address in entries.values():
            raise AlreadyExists(f"the address {address} belongs to another card")
        command = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST
        if mac in entries:
            command = libvirt.VIR_NETWORK_UPDATE_COMMAND_MODIFY
        found.update(command, _HOSTS, -1, build_host(mac, address), _affect(found))

    @verb
    def remove_address(self, network: str, mac: str) -> None:
        """DHCP knows neither the card nor a lease of its address, so that another card can have it at once."""
        found = self._network(network)
        mac = mac.lower()
        address = parse_hosts(found.XMLDesc(0)).get(mac)
        if address is not None:
            delete = libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
            found.update(delete, _HOSTS, -1, build_host(mac, address), _affect(found))
        if self._is_mock or not found.isActive():
            return
        for lease in found.DHCPLeases(mac, 0):
            release_lease(found.bridgeName(), _gateway(found), lease["ipaddr"], mac)

    @verb
    def addresses(self, network: str) -> dict[str, str]:
        """The DHCP host entries: MAC -> address."""
        return parse_hosts(self._network(network).XMLDesc(0))

    def _network(self, name: str) -> Any:
        """The libvirt network; NotFound when there is none."""
        try:
            return self._conn.networkLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
                raise NotFound(f"network {name}") from error
            raise


def _parsed(network: Any) -> NetworkSpec | None:
    try:
        return parse_network(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
    except BadSpec:
        return None


def _gateway(network: Any) -> str:
    return parse_network(network.XMLDesc(0)).gateway


def _affect(network: Any) -> int:
    config = int(libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG)
    return config | int(libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE) if network.isActive() else config
