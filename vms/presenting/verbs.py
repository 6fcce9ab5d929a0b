"""The buttons of a machine: which verbs are offered where, by their addresses and words."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ..states import OperationKind

# the path pieces of power verbs: what is pressed and happens at once
POWER: dict[str, str] = {
    "start": OperationKind.START,
    "stop": OperationKind.STOP,
    "reboot": OperationKind.REBOOT,
    "pause": OperationKind.PAUSE,
    "resume": OperationKind.RESUME,
    "force-off": OperationKind.FORCE_OFF,
}
_PIECE = {kind: piece for piece, kind in POWER.items()}


@dataclass(frozen=True, slots=True)
class Button:
    """A verb as a button. With `dialog` it opens a question first; without, it acts at once."""

    url: str
    label: str | Promise
    icon: str = ""
    key: str = ""
    dialog: bool = False
    bad: bool = False
    loud: bool = False


def power_button(vm_id: UUID, kind: str, label: str | Promise, icon: str, key: str = "", **style: bool) -> Button:
    """Press a verb of `POWER` at once."""
    return Button(reverse("vms:power", args=[vm_id, _PIECE[kind]]), label, icon, key, **style)


def main_verb(vm_id: UUID, verbs: Collection[str], live_kind: str) -> Button | None:
    """The one verb that fits the moment: start, stop, go on, or force off once a stop is under way."""
    if live_kind in (OperationKind.STOP, OperationKind.REBOOT) and OperationKind.FORCE_OFF in verbs:
        return Button(reverse("vms:force-off", args=[vm_id]), _("Force off"), "power", "s", dialog=True, bad=True)
    if OperationKind.STOP in verbs:
        return power_button(vm_id, OperationKind.STOP, _("Stop"), "stop", "s")
    if OperationKind.RESUME in verbs:
        return power_button(vm_id, OperationKind.RESUME, _("Resume"), "play", "s", loud=True)
    if OperationKind.START in verbs:
        return power_button(vm_id, OperationKind.START, _("Start"), "play", "s", loud=True)
    return None


def more_verbs(vm_id: UUID, verbs: Collection[str], *, may_change: bool) -> list[Button]:
    """The rest, for a menu, in the order of their weight. Deleting stands last."""
    found = []
    if OperationKind.REBOOT in verbs:
        found.append(power_button(vm_id, OperationKind.REBOOT, _("Reboot"), "reboot"))
    if OperationKind.PAUSE in verbs:
        found.append(power_button(vm_id, OperationKind.PAUSE, _("Pause"), "pause"))
    if OperationKind.RESIZE in verbs:
        found.append(Button(reverse("vms:resize", args=[vm_id]), _("Change size"), "resize", dialog=True))
    if may_change:
        found.append(Button(reverse("vms:edit", args=[vm_id]), _("Rename or describe"), "edit", dialog=True))
    if OperationKind.FORCE_OFF in verbs:
        found.append(Button(reverse("vms:force-off", args=[vm_id]), _("Force off"), "power", dialog=True, bad=True))
    if OperationKind.DELETE in verbs:
        found.append(delete_button(vm_id, _("Delete")))
    return found


def power_verbs(vm_id: UUID, verbs: Collection[str]) -> list[Button]:
    """What stands beside the main verb where there is only power to talk about: at the console."""
    keep = {reverse("vms:power", args=[vm_id, piece]) for piece in ("reboot", "pause")}
    keep.add(reverse("vms:force-off", args=[vm_id]))
    return [button for button in more_verbs(vm_id, verbs, may_change=False) if button.url in keep]


def delete_button(vm_id: UUID, label: str | Promise) -> Button:
    """Ask, then delete."""
    return Button(reverse("vms:delete", args=[vm_id]), label, "trash", dialog=True, bad=True)


def again_button(vm_id: UUID) -> Button:
    """Try a failed create again."""
    return Button(reverse("vms:again", args=[vm_id]), _("Try again"), "refresh")


def cancel_button(operation_id: UUID) -> Button:
    """Stop what is under way."""
    return Button(reverse("vms:cancel", args=[operation_id]), _("Cancel"), "x")
