"""The isolation report in words: what a program inside the sandbox tried, and what came of it."""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import isolation
from ..isolation import PROGRAM, Finding, Result, Verdict
from ..models import Run, Sandbox
from ..states import RunStatus, why

NOT_THERE = 127  # what a shell and the runner say of a program that is not in the guest
LABELS: dict[str, str | Promise] = {
    "card": gettext_lazy("Send anything at all"),
    "host_tcp": gettext_lazy("Connect to this host"),
    "host_udp": gettext_lazy("Send datagrams to this host"),
    "host_ping": gettext_lazy("Ping this host"),
    "host_others": gettext_lazy("Reach this host by its other addresses"),
    "host_arp": gettext_lazy("Find this host's other addresses"),
    "host_ipv6": gettext_lazy("Reach this host by IPv6"),
    "neighbour_arp": gettext_lazy("Find a neighbour"),
    "neighbour_ping": gettext_lazy("Ping a neighbour"),
    "neighbour_tcp": gettext_lazy("Connect to a neighbour"),
    "metadata": gettext_lazy("Read a metadata service"),
    "private": gettext_lazy("Reach private addresses"),
    "forged_mac": gettext_lazy("Send with another MAC"),
    "forged_ip": gettext_lazy("Send with another IP"),
    "dhcp": gettext_lazy("Answer DHCP for others"),
    "frames": gettext_lazy("Send forged frames"),
    "router": gettext_lazy("Find an IPv6 router"),
}
GLYPHS = {Result.HELD: "ok", Result.OPEN: "no", Result.UNTESTED: "wait", Result.NOBODY: "wait"}


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that was tried: `glyph` is "ok" where nothing came back."""

    finding: Finding

    @property
    def label(self) -> str | Promise:
        """What was tried."""
        return LABELS[self.finding.name]

    @property
    def glyph(self) -> str:
        """The silhouette of its result."""
        return GLYPHS[self.finding.result]

    @property
    def result(self) -> str:
        """What came of it."""
        name, detail = self.finding.name, self.finding.detail
        if self.finding.names_alone:
            return _("names alone (port 53), as it should be")
        match self.finding.result:
            case Result.HELD:
                return _("no answer")
            case Result.OPEN:
                return _("answered: %(what)s") % {"what": detail} if detail else _("answered")
            case Result.NOBODY if name.startswith("neighbour"):
                return _("not tested: there is no neighbour")
            case Result.NOBODY:
                return _("not tested: nobody is there who would answer")
            case _untested:
                return _("could not be tried: %(why)s") % {"why": detail} if detail else _("not tried")


@dataclass(frozen=True, slots=True)
class Report:
    """All of them. `problem` says why there is none."""

    run: Run | None
    probes: tuple[Probe, ...] = ()
    problem: str = ""

    @property
    def verdict(self) -> Verdict:
        """What they say together."""
        return isolation.verdict(self.run, [probe.finding for probe in self.probes])

    @property
    def held(self) -> int:
        """How many found no way."""
        return sum(probe.finding.result is Result.HELD for probe in self.probes)

    @property
    def tone(self) -> str:
        """The class of its tag."""
        if any(probe.finding.result is Result.OPEN for probe in self.probes):
            return "bad"
        return "ok" if self.probes and self.held == len(self.probes) else "warn"

    @property
    def summary(self) -> str:
        """How many held, in words."""
        return _("%(n)s of %(all)s held") % {"n": self.held, "all": len(self.probes)}


def last_report(sandbox: Sandbox) -> Report:
    """Return what the last check of a sandbox found, if there is one and it has ended. Unavailable."""
    run = isolation.checks(sandbox.vm).first()
    if run is None or run.is_live:
        return Report(run)
    return report(run, isolation.output_of(run), sandbox.network)


def report(run: Run, output: str, network: str) -> Report:
    """Read what a finished check of a sandbox on such a network printed."""
    probes = tuple(Probe(finding) for finding in isolation.read(output, network))
    problem = ""
    if run.status != RunStatus.EXITED:
        problem = why(run.error_code, run.error_detail) or str(RunStatus(run.status).label)
    elif run.exit_code == NOT_THERE or (not probes and run.exit_code):
        problem = _("This image does not have what tries it, or an older one: sudo and %(path)s.") % {"path": PROGRAM}
    elif not probes:
        problem = _("The check said nothing.")
    return Report(run, probes, problem)
