"""Trying again where libvirt gives up for a reason that passes by itself.

Its filters are made by some sixty calls of ebtables, and ebtables 1.8.9 fails when anybody else (our own guards,
another libvirtd, a container engine) changes nftables between its look and its change. libvirt then takes the whole
start back.
"""

from collections.abc import Callable
from typing import TypeVar

import libvirt

from .translate import met_another_filter_change

TRIES = 4

T = TypeVar("T")


def insist(call: Callable[[], T]) -> T:
    """What the call returns; one that met another change of the packet filter is made again, four times in all."""
    for _ in range(TRIES - 1):
        try:
            return call()
        except libvirt.libvirtError as error:
            if not met_another_filter_change(error):
                raise
    return call()
