"""The audit trail in sentences. An action that has none yet is shown by its name, so that nothing is ever hidden."""

from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.dimensions import Dimension
from accounts.models import AuditEntry, Role

from . import amounts

SENTENCES: dict[str, str | Promise] = {
    "vm.create": gettext_lazy("%(who)s created %(name)s"),
    "vm.start": gettext_lazy("%(who)s started %(name)s"),
    "vm.stop": gettext_lazy("%(who)s asked %(name)s to shut down"),
    "vm.force_off": gettext_lazy("%(who)s forced off %(name)s"),
    "vm.reboot": gettext_lazy("%(who)s rebooted %(name)s"),
    "vm.pause": gettext_lazy("%(who)s paused %(name)s"),
    "vm.resume": gettext_lazy("%(who)s resumed %(name)s"),
    "vm.resize": gettext_lazy("%(who)s changed the size of %(name)s"),
    "vm.delete": gettext_lazy("%(who)s deleted %(name)s"),
    "vm.rename": gettext_lazy("%(who)s renamed or described %(name)s"),
    "vm.foreign_devices": gettext_lazy("%(who)s found devices at %(name)s that it had not been given"),
    "vm.follow": gettext_lazy("%(who)s noted what %(name)s did by itself"),
    "vm.prepare": gettext_lazy("%(who)s had %(name)s prepared for a template"),
    "vm.spare": gettext_lazy("%(who)s made the spare %(name)s"),
    "vm.clone": gettext_lazy("%(who)s cloned %(name)s"),
    "vm.claim": gettext_lazy("%(who)s took %(name)s from the warm pool"),
    "vm.reset": gettext_lazy("%(who)s reset %(name)s"),
    "vm.suspend": gettext_lazy("%(who)s paused %(name)s to disk"),
    "vm.restore": gettext_lazy("%(who)s let %(name)s go on from disk"),
    "sandbox.create": gettext_lazy("%(who)s made the sandbox %(name)s"),
    "sandbox.extend": gettext_lazy("%(who)s extended the lease of %(name)s"),
    "sandbox.pause": gettext_lazy("%(who)s stopped the clock of %(name)s"),
    "sandbox.resume": gettext_lazy("%(who)s let the clock of %(name)s go on"),
    "sandbox.idle": gettext_lazy("%(who)s paused %(name)s, which nobody used"),
    "sandbox.end": gettext_lazy("%(who)s ended the lease of %(name)s"),
    "sandbox.restore": gettext_lazy("%(who)s took %(name)s back"),
    "sandbox.keep": gettext_lazy("%(who)s kept %(name)s as a machine"),
    "run.create": gettext_lazy("%(who)s ran a command in %(name)s"),
    "template.create": gettext_lazy("%(who)s made the template %(name)s"),
    "template.prepare": gettext_lazy("%(who)s had the template %(name)s prepared"),
    "template.pool": gettext_lazy("%(who)s set how many clones of %(name)s wait"),
    "template.delete": gettext_lazy("%(who)s took the template %(name)s away"),
    "operation.cancel": gettext_lazy("%(who)s cancelled an operation on %(name)s"),
    "console.open": gettext_lazy("%(who)s opened the console of %(name)s"),
    "quota.set": gettext_lazy("%(who)s set the quota of %(name)s"),
    "project.create": gettext_lazy("%(who)s made the project %(name)s"),
    "project.set_member": gettext_lazy("%(who)s gave %(name)s a role"),
    "project.remove_member": gettext_lazy("%(who)s removed %(name)s"),
    "token.create": gettext_lazy("%(who)s made the token %(name)s"),
    "token.revoke": gettext_lazy("%(who)s revoked a token"),
    "user.create": gettext_lazy("%(who)s made the account %(name)s"),
    "user.password": gettext_lazy("%(who)s changed their password"),
    "user.deactivate": gettext_lazy("%(who)s shut out %(name)s"),
    "user.reactivate": gettext_lazy("%(who)s let %(name)s in again"),
    "node.cordon": gettext_lazy("%(who)s closed %(name)s to new machines"),
    "node.uncordon": gettext_lazy("%(who)s opened %(name)s to new machines"),
}
GROUPS: list[tuple[str, str | Promise]] = [
    ("", gettext_lazy("Everything")),
    ("vm.", gettext_lazy("Machines")),
    ("sandbox.", gettext_lazy("Sandboxes")),
    ("template.", gettext_lazy("Templates")),
    ("console.", gettext_lazy("Consoles")),
    ("quota.", gettext_lazy("Quotas")),
    ("project.", gettext_lazy("Projects")),
    ("user.", gettext_lazy("People")),
    ("token.", gettext_lazy("Tokens")),
    ("node.", gettext_lazy("Nodes")),
]


@dataclass(frozen=True, slots=True)
class Line:
    """One entry as a page shows it."""

    entry: AuditEntry

    @property
    def sentence(self) -> str:
        """Who did what to what."""
        entry = self.entry
        who = _("Slipway") if entry.via == "system" else entry.actor_name
        template = SENTENCES.get(entry.action)
        if template is None:
            return f"{who}: {entry.action} {entry.target_name}".strip()
        return str(template) % {"who": who, "name": entry.target_name}

    @property
    def href(self) -> str:
        """Where what it is about is shown."""
        entry = self.entry
        if entry.target_kind in ("vm", "sandbox") and entry.target_id:
            return reverse("vms:detail", args=[entry.target_id])
        if entry.target_kind == "template" and entry.target_id:
            return reverse("sandboxes:template", args=[entry.target_id])
        if entry.target_kind == "user" and entry.target_id:
            return reverse("desk:person", args=[entry.target_id])
        if entry.target_kind == "operation" and entry.target_id:
            return reverse("operation", args=[entry.target_id])
        return ""

    @property
    def data(self) -> list[str]:
        """What was kept with it, in words where there are words."""
        return [text for key, value in self.entry.data.items() if (text := _datum(key, value))]


def _datum(key: str, value: Any) -> str:
    if key in ("operation", "operation_id") or value in ("", None, {}, []):
        return ""
    if key == "limits" and isinstance(value, dict):
        return limits_text(value)
    if key == "member_limits" and isinstance(value, dict):
        return "; ".join(f"{name}: {limits_text(own)}" for name, own in value.items())
    if key == "role" and value in Role.values:
        return str(Role(value).label)
    return f"{key}: {value}"


def limits_text(limits: dict[str, int | None]) -> str:
    """Return limits in one line: vCPU 16, Memory 16 GiB."""
    return ", ".join(
        f"{Dimension(name).label} {_('unlimited') if limit is None else amounts.amount(name, limit)}"
        for name, limit in limits.items()
        if name in Dimension.values
    )
