"""Gives a DHCP lease back in a guest's stead: a guest that was forced off does not do it itself.

Without this, dnsmasq keeps the address for the old card until the lease runs out, and refuses it to the next one.
Source: RFC 2131, section 4.4.6. The packet is sent through the bridge itself, as dnsmasq's own dhcp_release does.
"""

import ipaddress
import os
import socket
import struct

_SERVER_PORT = 67
_MAGIC = bytes((99, 130, 83, 99))
_MESSAGE_TYPE, _SERVER_ID, _CLIENT_ID, _END = 53, 54, 61, 255
_RELEASE = 7
_BOOTREQUEST, _ETHERNET, _MAC_LENGTH = 1, 1, 6


def release_packet(server: str, address: str, mac: str) -> bytes:
    """The DHCPRELEASE message of the card with this MAC for this address."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    header = struct.pack("!BBBB4sHH", _BOOTREQUEST, _ETHERNET, _MAC_LENGTH, 0, os.urandom(4), 0, 0)
    addresses = ipaddress.IPv4Address(address).packed + bytes(12)
    names = bytes(64 + 128)
    options = bytes((_MESSAGE_TYPE, 1, _RELEASE))
    options += bytes((_SERVER_ID, 4)) + ipaddress.IPv4Address(server).packed
    return header + addresses + hardware.ljust(16, b"\0") + names + _MAGIC + options + bytes((_END,))


def release_lease(bridge: str, server: str, address: str, mac: str) -> None:
    """Sends the message to the DHCP server behind the bridge; needs root. Nothing answers a release."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bridge.encode())
        sender.sendto(release_packet(server, address, mac), (server, _SERVER_PORT))
