"""The isolation report: what a program inside the sandbox tried, and what came of it.

The program is part of the images we build (guests/probe). It prints a line a probe: "NAME RESULT DETAIL".
"""

from dataclasses import dataclass
from ipaddress import ip_address

from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from vms.models import Nic, VirtualMachine

from ..models import Run
from ..states import NetworkMode, RunStatus, why

PROGRAM = "/usr/sbin/slipway-probe"
AS_ROOT = ("sudo", "-n", PROGRAM)  # commands run as the guest's default user; forging frames takes more
NOT_THERE = 127  # what a shell and the runner say of a program that is not in the guest
LONGEST_SECONDS = 120
NAME_SERVICE = "53"
PROBES: dict[str, str | Promise] = {
    "card": gettext_lazy("Send anything at all"),
    "host_tcp": gettext_lazy("Connect to this host"),
    "neighbour_arp": gettext_lazy("Find a neighbour"),
    "neighbour_ping": gettext_lazy("Ping a neighbour"),
    "neighbour_tcp": gettext_lazy("Connect to a neighbour"),
    "metadata": gettext_lazy("Read a metadata service"),
    "private": gettext_lazy("Reach private addresses"),
    "forged_mac": gettext_lazy("Send with another MAC"),
    "forged_ip": gettext_lazy("Send with another IP"),
    "frames": gettext_lazy("Send forged frames"),
    "router": gettext_lazy("Find an IPv6 router"),
}
BY_FRAMES = ("neighbour_arp", "neighbour_ping", "forged_mac", "forged_ip", "router")
RESULTS = {"blocked": "ok", "open": "no", "untested": "wait"}


def checks(vm: VirtualMachine) -> QuerySet[Run]:
    """Return the isolation checks of a sandbox, newest first."""
    return Run.objects.filter(vm=vm, argv__2=PROGRAM).defer("stdin").order_by("-created_at")


def is_check(run: Run) -> bool:
    """Is this run an isolation check?"""
    return tuple(run.argv[:3]) == AS_ROOT


def command(vm: VirtualMachine) -> list[str] | None:
    """Return what to run: the program with the host's address and a neighbour's. None where there is no card."""
    nic = Nic.objects.select_related("network").filter(vm=vm).first()
    if nic is None:
        return None
    of_project = Nic.objects.filter(network=nic.network, vm__project=vm.project_id).exclude(vm=vm)
    neighbour = of_project.values_list("address", flat=True).first() or str(ip_address(nic.address) + 1)
    return [*AS_ROOT, nic.network.gateway, neighbour]


def _ports(detail: str) -> set[str]:
    """Return the ports of a list such as "22(refused),53"."""
    return {port.partition("(")[0] for port in detail.split(",") if port}


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that was tried: `glyph` is "ok" where nothing came back."""

    label: str | Promise
    glyph: str
    result: str


@dataclass(frozen=True, slots=True)
class Report:
    """All of them. `problem` says why there is none."""

    run: Run
    probes: tuple[Probe, ...]
    problem: str = ""

    @property
    def held(self) -> int:
        """How many found no way."""
        return sum(probe.glyph == "ok" for probe in self.probes)

    @property
    def tone(self) -> str:
        """The class of its tag."""
        if any(probe.glyph == "no" for probe in self.probes):
            return "bad"
        return "ok" if self.probes and self.held == len(self.probes) else "warn"

    @property
    def summary(self) -> str:
        """How many held, in words."""
        return _("%(n)s of %(all)s held") % {"n": self.held, "all": len(self.probes)}


def report(run: Run, output: str, network: str) -> Report:
    """Read what a finished check of a sandbox on such a network printed."""
    probes = tuple(probe for line in output.splitlines() if (probe := _probe(line, network)))
    if probes:
        probes += _unsaid(output)
    problem = ""
    if run.status != RunStatus.EXITED:
        problem = why(run.error_code, run.error_detail) or str(RunStatus(run.status).label)
    elif run.exit_code == NOT_THERE or (not probes and run.exit_code):
        problem = _("This image does not have what tries it: sudo and %(path)s.") % {"path": PROGRAM}
    elif not probes:
        problem = _("The check said nothing.")
    return Report(run, probes, problem)


def _unsaid(output: str) -> tuple[Probe, ...]:
    """Return what a check should have tried and did not speak of: one that was cut short must not look good."""
    said = {line.partition(" ")[0] for line in output.splitlines()}
    if "card" in said:
        return ()
    expected = [name for name in PROBES if name not in ("card", "frames")]
    if "frames" in said:
        expected = [name for name in expected if name not in BY_FRAMES]
    return tuple(Probe(PROBES[name], "wait", _("not tried")) for name in expected if name not in said)


def _probe(line: str, network: str) -> Probe | None:
    name, _space, rest = line.partition(" ")
    result, _space, detail = rest.strip().partition(" ")
    if name not in PROBES or result not in RESULTS:
        return None
    if name == "host_tcp" and network == NetworkMode.NAT and _ports(detail) == {NAME_SERVICE}:
        return Probe(PROBES[name], "ok", _("names alone (port 53), as it should be"))
    said = {
        "blocked": _("no answer"),
        "open": _("answered: %(what)s") % {"what": detail[:80]} if detail else _("answered"),
        "untested": _("could not be tried: %(why)s") % {"why": detail[:80]},
    }
    return Probe(PROBES[name], RESULTS[result], said[result])
