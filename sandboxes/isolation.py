"""Checking from inside whether a sandbox's walls hold: what is run, against whom, and what it found.

The program is part of the images we build (guests/probe). It prints a line a probe: "NAME RESULT DETAIL".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network

from django.core.cache import cache
from django.db.models import QuerySet

from vms.models import Network, Nic, VirtualMachine
from vms.states import NetworkKind, ObservedState, Role

from . import gateway_runs
from .models import Run
from .states import NetworkMode, RunStatus

PROGRAM = "/usr/sbin/slipway-probe"
AS_ROOT = ("sudo", "-n", PROGRAM)  # commands run as the guest's default user; forging frames takes more
LONGEST_SECONDS = 120
HOSTS_AT_MOST = 16  # of which the program takes as many
OUTPUT_BYTES = 64 * 1024
KEPT_SECONDS = 24 * 3600
NAME_SERVICE = "53"
PROBES = (
    "card", "host_tcp", "host_udp", "host_ping", "host_others", "host_arp", "host_ipv6", "neighbour_arp",
    "neighbour_ping", "neighbour_tcp", "metadata", "private", "forged_mac", "forged_ip", "dhcp", "frames", "router",
)  # fmt: skip
BY_FRAMES = ("host_arp", "host_ipv6", "neighbour_arp", "neighbour_ping", "forged_mac", "forged_ip", "dhcp", "router")
NAMES_MAY_ANSWER = ("host_tcp", "host_udp")
ONLY_WHEN_WRONG = ("card", "frames")  # lines that stand for others


class Result(StrEnum):
    """What came of a probe. NOBODY: silence would have said nothing, as nobody is there who would have answered."""

    HELD = "held"
    OPEN = "open"
    UNTESTED = "untested"
    NOBODY = "nobody"


class Verdict(StrEnum):
    """What a whole check says. INCOMPLETE: nothing was open, but something that should have been tried was not."""

    UNCHECKED = "unchecked"
    RUNNING = "running"
    FAILED = "failed"
    OPEN = "open"
    INCOMPLETE = "incomplete"
    HELD = "held"


SAID = {"blocked": Result.HELD, "open": Result.OPEN, "untested": Result.UNTESTED}


@dataclass(frozen=True, slots=True)
class Finding:
    """One probe. `detail` is the guest's own word; it is empty for one that the program did not speak of."""

    name: str
    result: Result
    detail: str = ""
    names_alone: bool = False


def checks(vm: VirtualMachine) -> QuerySet[Run]:
    """Return the isolation checks of a sandbox, newest first."""
    return Run.objects.filter(vm=vm, argv__2=PROGRAM).defer("stdin").order_by("-created_at")


def is_check(run: Run) -> bool:
    """Is this run an isolation check?"""
    return tuple(run.argv[:3]) == AS_ROOT


def command(vm: VirtualMachine) -> list[str] | None:
    """Return what to run: the program with the host's addresses and a neighbour. None where there is no card."""
    nic = Nic.objects.select_related("network__node").filter(vm=vm).first()
    if nic is None:
        return None
    return [*AS_ROOT, ",".join(_hosts(nic.network)), _neighbour(nic)]


def _hosts(network: Network) -> list[str]:
    """Return the host's addresses, that on this network first. Where it has none, another is looked for on the link."""
    node = network.node
    others = node.networks.exclude(pk=network.pk).exclude(kind=NetworkKind.ISOLATED).order_by("name")
    found = [network.gateway, *(other.gateway for other in others), *node.addresses.split(",")]
    known = [address for address in dict.fromkeys(found) if address]
    return known[:HOSTS_AT_MOST] or [str(ip_network(network.subnet)[1])]


def _neighbour(nic: Nic) -> str:
    """Return address and MAC of a sandbox that would answer, "-" without one.

    It is one of the same project, whose members see the command, and it runs: a waiting clone is silent anyhow.
    """
    running = Nic.objects.filter(network=nic.network, linked=True, vm__observed_state=ObservedState.RUNNING)
    mine = running.filter(vm__project=nic.vm.project_id, vm__role=Role.SANDBOX).exclude(vm=nic.vm_id)
    found = mine.order_by("vm__created_at").values_list("address", "mac").first() if nic.linked else None
    return ",".join(found) if found else "-"


def output_of(run: Run) -> str:
    """Return what a check that has ended printed. It does not change any more, so it is kept. Unavailable."""
    key = f"isolation:{run.pk}"
    output: str | None = cache.get(key)
    if output is None:
        output = gateway_runs.output(run, "stdout", 0, OUTPUT_BYTES).data.decode("utf-8", "replace")
        cache.set(key, output, KEPT_SECONDS)
    return output


def read(output: str, network: str) -> tuple[Finding, ...]:
    """Return what a check of a sandbox on such a network printed, and what it should have spoken of and did not."""
    found = tuple(finding for line in output.splitlines() if (finding := _finding(line, network)))
    return found + _unsaid({finding.name for finding in found}) if found else ()


def verdict(run: Run | None, findings: Iterable[Finding]) -> Verdict:
    """Return what a check says as a whole."""
    if run is None:
        return Verdict.UNCHECKED
    if run.is_live:
        return Verdict.RUNNING
    results = {finding.result for finding in findings}
    if Result.OPEN in results:
        return Verdict.OPEN
    if run.status != RunStatus.EXITED or not results:
        return Verdict.FAILED
    return Verdict.INCOMPLETE if Result.UNTESTED in results else Verdict.HELD


def _finding(line: str, network: str) -> Finding | None:
    name, _space, rest = line.partition(" ")
    word, _space, detail = rest.strip().partition(" ")
    if name not in PROBES or word not in SAID:
        return None
    result = SAID[word]
    if result is Result.UNTESTED and detail == "nobody":
        return Finding(name, Result.NOBODY)
    if name in NAMES_MAY_ANSWER and network == NetworkMode.NAT and _ports(detail) == {NAME_SERVICE}:
        return Finding(name, Result.HELD, names_alone=True)
    return Finding(name, result, detail[:80])


def _ports(detail: str) -> set[str]:
    """Return the ports of a list such as "22(refused),53"."""
    return {port.partition("(")[0] for port in detail.split(",") if port}


def _unsaid(said: set[str]) -> tuple[Finding, ...]:
    """Return what a check should have tried and did not speak of: one that was cut short must not look good."""
    if "card" in said:
        return ()
    stood_for = BY_FRAMES if "frames" in said else ()
    expected = [name for name in PROBES if name not in ONLY_WHEN_WRONG and name not in stood_for]
    return tuple(Finding(name, Result.UNTESTED) for name in expected if name not in said)
