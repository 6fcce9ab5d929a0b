"""What the command palette finds among sandboxes and templates."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.access import Verb, allows
from accounts.door import reader
from vms.presenting.fragments import roles_of
from vms.presenting.verbs import Button

from .. import queries
from ..presenting.cards import SandboxCard, sandbox_cards

FOUND_AT_MOST = 4


def found(request: HttpRequest, text: str) -> list[dict[str, Any]]:
    """Return sandboxes by name with the verbs of the first, and templates to start from. Few queries."""
    user = reader(request)
    rows = queries.sandboxes_with_details(queries.visible_sandboxes(user)).filter(vm__name__icontains=text)
    cards = sandbox_cards(user, rows.order_by("vm__name", "pk")[:FOUND_AT_MOST], timezone.now())
    results = [_sandbox(card) for card in cards]
    if cards:
        results += [_verb(verb, cards[0].vm.name) for verb in _verbs(cards[0])]
    if any(allows(role, Verb.CHANGE) for role in roles_of(user).values()):
        for template in queries.visible_templates(user).filter(name__icontains=text)[:FOUND_AT_MOST]:
            words = _("New sandbox from %(name)s") % {"name": template.name}
            post = reverse("sandboxes:new", args=[template.pk])
            results.append({"group": "do", "icon": "sandbox", "text": words, "post": post})
    return results


def _sandbox(card: SandboxCard) -> dict[str, Any]:
    href = reverse("sandboxes:detail", args=[card.vm.pk])
    note = _("sandbox, %(left)s left") % {"left": card.lease.text}
    return {"group": "machines", "icon": "sandbox", "text": card.vm.name, "note": note, "href": href}


def _verbs(card: SandboxCard) -> list[Button]:
    return [verb for verb in (card.main_verb, card.reset, *card.menu) if verb is not None]


def _verb(verb: Button, name: str) -> dict[str, Any]:
    where = {"href": verb.url, "dialog": True} if verb.dialog else {"post": verb.url}
    return {"group": "do", "icon": verb.icon or "right", "text": f"{verb.label}: {name}", **where}
