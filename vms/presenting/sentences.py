"""Why a machine is as it is and what can be done: one sentence for each reason that a status may bear."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ..states import OperationKind

# status_reason -> (headline, what it means and the way out)
REASONS: dict[str, tuple[str | Promise, str | Promise]] = {
    "node_away": (
        _("We cannot see this machine right now"),
        _(
            "Its node has not answered for a while. The machine may well be running; no second copy of it is "
            "started, so nothing is lost. Acts come back with the node."
        ),
    ),
    "io_error": (
        _("The machine waits for its disk"),
        _("Its storage is full or answers with errors, and it stands still. Once there is room again, resume it."),
    ),
    "storage_missing": (
        _("A disk of this machine is missing"),
        _(
            "The file is not in its storage pool, or only a part of it. It does not start until staff have put it "
            "back. It can be deleted."
        ),
    ),
    "domain_missing": (
        _("The node no longer knows this machine"),
        _("Somebody removed it outside of Slipway. Its disk may still be there: ask staff before you delete it."),
    ),
    "create_failed": (
        _("It could not be created"),
        _("It keeps its place in the quota until it is deleted. Try again: what was made already is used."),
    ),
    "delete_failed": (
        _("It could not be deleted completely"),
        _("Something of it is left on the node. Delete it again; staff see why it failed."),
    ),
    "guest_timeout": (
        _("The guest did not shut down"),
        _(
            "It was asked and is still running: it may be saving, or it does not listen. Wait and stop it "
            "again, or force it off."
        ),
    ),
    "panicked": (
        _("The guest's kernel panicked"),
        _("Its disk is intact. Start it again, and look at the last screen."),
    ),
}

DONE: dict[str, str | Promise] = {
    OperationKind.CREATE: _("Created"),
    OperationKind.START: _("Started"),
    OperationKind.STOP: _("Stopped"),
    OperationKind.FORCE_OFF: _("Forced off"),
    OperationKind.REBOOT: _("Rebooted"),
    OperationKind.PAUSE: _("Paused"),
    OperationKind.RESUME: _("Resumed"),
    OperationKind.RESIZE: _("Size changed"),
    OperationKind.DELETE: _("Deleted"),
    OperationKind.PREPARE: _("Prepared"),
    OperationKind.SPARE: _("Spare made"),
    OperationKind.CLONE: _("Cloned"),
    OperationKind.CLAIM: _("Handed out"),
    OperationKind.RESET: _("Reset"),
    OperationKind.SUSPEND: _("Paused to disk"),
    OperationKind.RESTORE: _("Continued from disk"),
}
DOING: dict[str, str | Promise] = {
    OperationKind.CREATE: _("Creating"),
    OperationKind.START: _("Starting"),
    OperationKind.STOP: _("Stopping"),
    OperationKind.FORCE_OFF: _("Forcing off"),
    OperationKind.REBOOT: _("Rebooting"),
    OperationKind.PAUSE: _("Pausing"),
    OperationKind.RESUME: _("Resuming"),
    OperationKind.RESIZE: _("Changing size"),
    OperationKind.DELETE: _("Deleting"),
    OperationKind.PREPARE: _("Preparing"),
    OperationKind.SPARE: _("Making a spare"),
    OperationKind.CLONE: _("Cloning"),
    OperationKind.CLAIM: _("Handing out"),
    OperationKind.RESET: _("Resetting"),
    OperationKind.SUSPEND: _("Pausing to disk"),
    OperationKind.RESTORE: _("Continuing from disk"),
}
FAILED: dict[str, str | Promise] = {
    OperationKind.CREATE: _("Create failed"),
    OperationKind.START: _("Start failed"),
    OperationKind.STOP: _("Stop failed"),
    OperationKind.FORCE_OFF: _("Force off failed"),
    OperationKind.REBOOT: _("Reboot failed"),
    OperationKind.PAUSE: _("Pause failed"),
    OperationKind.RESUME: _("Resume failed"),
    OperationKind.RESIZE: _("Change of size failed"),
    OperationKind.DELETE: _("Delete failed"),
    OperationKind.PREPARE: _("Preparing failed"),
    OperationKind.SPARE: _("Making a spare failed"),
    OperationKind.CLONE: _("Clone failed"),
    OperationKind.CLAIM: _("Handing out failed"),
    OperationKind.RESET: _("Reset failed"),
    OperationKind.SUSPEND: _("Pause to disk failed"),
    OperationKind.RESTORE: _("Continuing from disk failed"),
}
CANCELLED: dict[str, str | Promise] = {
    OperationKind.CREATE: _("Create cancelled"),
    OperationKind.START: _("Start cancelled"),
    OperationKind.STOP: _("Stop given up"),
    OperationKind.REBOOT: _("Reboot given up"),
    OperationKind.PREPARE: _("Preparing cancelled"),
}
# what is said once the service has taken the wish
ASKED: dict[str, str | Promise] = {
    OperationKind.START: _("%(name)s is starting."),
    OperationKind.STOP: _("%(name)s is asked to shut down. It has %(seconds)s s."),
    OperationKind.FORCE_OFF: _("%(name)s is being switched off."),
    OperationKind.REBOOT: _("%(name)s is asked to reboot."),
    OperationKind.PAUSE: _("%(name)s is being paused."),
    OperationKind.RESUME: _("%(name)s goes on."),
    OperationKind.RESIZE: _("%(name)s changes its size."),
    OperationKind.DELETE: _("%(name)s is being deleted."),
}
# what is announced when a wish of one's own came true
CAME_TRUE: dict[str, str | Promise] = {
    OperationKind.CREATE: _("%(name)s is ready."),
    OperationKind.START: _("%(name)s is running."),
    OperationKind.STOP: _("%(name)s is off."),
    OperationKind.FORCE_OFF: _("%(name)s is off."),
    OperationKind.REBOOT: _("%(name)s is back."),
    OperationKind.PAUSE: _("%(name)s is paused."),
    OperationKind.RESUME: _("%(name)s is running."),
    OperationKind.RESIZE: _("%(name)s has its new size."),
    OperationKind.DELETE: _("%(name)s is gone."),
    OperationKind.PREPARE: _("The template is prepared."),
    OperationKind.SPARE: _("A clone waits."),
    OperationKind.CLONE: _("%(name)s is ready."),
    OperationKind.CLAIM: _("%(name)s is ready."),
    OperationKind.RESET: _("%(name)s is as new."),
    OperationKind.SUSPEND: _("%(name)s is paused to disk."),
    OperationKind.RESTORE: _("%(name)s is running."),
}
