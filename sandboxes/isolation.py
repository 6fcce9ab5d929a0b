"""The isolation report: a self-test that runs inside a sandbox, tries to get out, and says what it could not do.

It is an ordinary run of `slipway-probe` (guests/probe/probe.c), a program of both our images. What it prints comes from
a guest, whose owner may have replaced the program: it is read as data, by names and results that are known, and a
report speaks of this sandbox to its own people only. That the walls stand is shown by tests/system/test_isolation.py,
where the same probes run in two real sandboxes and the neighbour says what reached it.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from vms.models import Nic, VirtualMachine
from vms.states import Role

from .models import Run

PROGRAM = "/usr/sbin/slipway-probe"
TIMEOUT_SECONDS = 120
MAY_ANSWER = frozenset({53})  # the bridge's name server; DHCP is UDP
_LINE = re.compile(r"^([a-z_]{1,20}) (blocked|open|untested)(?: ([0-9a-z.,():/ -]{1,200}))?$")


class Result(StrEnum):
    BLOCKED = "blocked"
    OPEN = "open"
    UNTESTED = "untested"


@dataclass(frozen=True, slots=True)
class Probe:
    """What is tried, and what it would mean if it worked."""

    name: str
    tried: str | Promise
    blocked: str | Promise
    opened: str | Promise


PROBES: tuple[Probe, ...] = (
    Probe(
        "host_tcp",
        _("Reach services of the host"),
        _("The host answered on no port"),
        _("The host answered on a port that it should not have"),
    ),
    Probe("neighbour_ping", _("Ping a neighbour"), _("No neighbour answered"), _("A neighbour answered a ping")),
    Probe(
        "neighbour_arp",
        _("Find a neighbour on the wire"),
        _("No neighbour can be seen"),
        _("A neighbour can be seen"),
    ),
    Probe(
        "neighbour_tcp",
        _("Connect to a neighbour"),
        _("No connection came about"),
        _("A neighbour took or refused a connection"),
    ),
    Probe(
        "metadata",
        _("Ask a metadata service (169.254.169.254)"),
        _("There is none"),
        _("Something answers at the address of a metadata service"),
    ),
    Probe(
        "private",
        _("Reach private networks (10/8, 172.16/12, 192.168/16, 100.64/10)"),
        _("None answered"),
        _("An address of a private network answered"),
    ),
    Probe(
        "forged_mac",
        _("Send with another card's MAC"),
        _("Nobody heard it"),
        _("A frame with a forged MAC was answered"),
    ),
    Probe(
        "forged_ip",
        _("Send from another address"),
        _("Nobody heard it"),
        _("A packet with a forged address reached somebody"),
    ),
    Probe(
        "router",
        _("Look for an IPv6 router"),
        _("There is none"),
        _("A router answered: IPv6 would bypass the rules for IPv4"),
    ),
)
_KNOWN = {probe.name: probe for probe in PROBES}


@dataclass(frozen=True, slots=True)
class Finding:
    """One probe's result. `detail` is of digits and plain letters, whatever the guest printed."""

    probe: Probe
    result: Result
    detail: str = ""

    @property
    def says(self) -> str | Promise:
        if self.result is Result.BLOCKED:
            return self.probe.blocked
        return self.probe.opened if self.result is Result.OPEN else _("It could not be tried")


def argv(vm: VirtualMachine) -> list[str]:
    """Return the command of a report on this machine: as root, because it builds frames by hand."""
    nic = vm.nics.select_related("network").order_by("id").first()
    if nic is None:
        return ["sudo", "-n", PROGRAM, "192.0.2.1", "192.0.2.2"]  # addresses of nobody (RFC 5737)
    subnet = ipaddress.ip_network(nic.network.subnet)
    return ["sudo", "-n", PROGRAM, str(subnet[1]), _neighbour(vm, nic, str(subnet[2]))]


def is_report(run: Run) -> bool:
    return run.argv[:3] == ["sudo", "-n", PROGRAM]


def read(output: str) -> list[Finding]:
    """Return what a report's output says, in our order; what it does not say is untested.

    Without a card every way is closed, and the probe says just that.
    """
    said: dict[str, tuple[Result, str]] = {}
    for line in output[:8192].splitlines():
        if match := _LINE.fullmatch(line.strip()):
            said[match[1]] = Result(match[2]), match[3] or ""
    if said.get("card", (Result.OPEN, ""))[0] is Result.BLOCKED:
        return [Finding(probe, Result.BLOCKED) for probe in PROBES]
    if "frames" in said:
        for name in ("neighbour_arp", "neighbour_ping", "forged_mac", "forged_ip", "router"):
            said.setdefault(name, said["frames"])
    found = []
    for probe in PROBES:
        result, detail = said.get(probe.name, (Result.UNTESTED, ""))
        if probe.name == "host_tcp" and result is Result.OPEN and _only_allowed(detail):
            result, detail = Result.BLOCKED, ""
        found.append(Finding(probe, result, detail))
    return found


def holds(findings: Iterable[Finding]) -> bool:
    """Did nothing get out, and was everything tried?"""
    return all(finding.result is Result.BLOCKED for finding in findings)


def _only_allowed(detail: str) -> bool:
    ports = {part.removesuffix("(refused)") for part in detail.split(",")}
    return ports <= {str(port) for port in MAY_ANSWER}


def _neighbour(vm: VirtualMachine, nic: Nic, otherwise: str) -> str:
    """Return the address of a machine next to it that its people may know of, or a waiting clone's."""
    others = Nic.objects.filter(network=nic.network, vm__observed_state="running").exclude(vm=vm)
    own = others.filter(vm__project=vm.project_id).first() or others.filter(vm__role=Role.SPARE).first()
    return own.address if own else otherwise
