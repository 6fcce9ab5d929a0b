"""What a person can do about an operation that ended without its result: one sentence for each code."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

_AGAIN = _("Try it again. If it ends like this once more, give staff the id of this operation.")
_GUEST = _("Open its console: its last screen mostly tells why.")
_POOL = _("Try it again once staff have made room.")
_STORAGE = _("It does not start until staff have put the file back. It can be deleted.")
_MOOT = _("There is nothing left to do.")
_CALM = _("Nothing is broken: ask for it again when you want it.")

# code -> the way out; codes that are missing are the hypervisor's own, which staff look into
WAYS_OUT: dict[str, str | Promise] = {
    "cancelled": _CALM,
    "preempted": _("Nothing is broken: what took its place goes on, or has ended since."),
    "vm_gone": _MOOT,
    "actor_disabled": _("Somebody else of the project can ask for it again."),
    "deadline": _AGAIN,
    "node_away": _("The machine may well be running on its node. Try it again when the node is back."),
    "guest_timeout": _GUEST,
    "guest_stopped": _GUEST,
    "ready_timeout": _("Make the script shorter, or give it more time, and prepare the template again."),
    "ready_script_failed": _("Mend the script, and prepare the template again."),
    "not_frozen": _("Make a new sandbox: it comes from the template as it is now."),
    "spare_lost": _("Another one is made by itself."),
    "pool_full": _POOL,
    "no_space": _POOL,
    "storage_missing": _STORAGE,
    "file_missing": _STORAGE,
    "invalid_state": _("Look at how the machine is now, and ask again if you still want it."),
}


def way_out(code: str) -> str | Promise:
    """Return what to do about this code; "" for no code."""
    return WAYS_OUT.get(code, _AGAIN) if code else ""
