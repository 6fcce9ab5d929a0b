"""An isolation check: a command like any other, whose words are ours."""

from uuid import UUID

from django.utils.translation import gettext_lazy as _

from accounts.access import Verb
from accounts.actor import Actor
from accounts.refusals import InvalidState

from .. import isolation
from ..models import Run
from ..queries import get_sandbox_for
from .runs import NewRun, request_run


def request_isolation_check(actor: Actor, vm_id: UUID | str) -> Run:
    """Begin a check of a sandbox from inside. NotVisible, Forbidden, InvalidState."""
    sandbox = get_sandbox_for(actor.who, vm_id, Verb.CONSOLE)
    argv = isolation.command(sandbox.vm)
    if argv is None:
        raise InvalidState(_("This sandbox has no network card: there is nothing to try."))
    return request_run(actor, vm_id, NewRun(argv=argv, timeout_seconds=isolation.LONGEST_SECONDS))
