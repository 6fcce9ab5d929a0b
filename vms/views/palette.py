"""What the command palette finds on the server."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.door import page, reader

from .. import queries
from ..presenting.cards import VmCard
from ..presenting.fragments import cards_for
from ..states import Status

FOUND_AT_MOST = 6
WITH_VERBS = 2
SHORTEST = 2
Source = Callable[[HttpRequest, str], list[dict[str, Any]]]
SOURCES: list[Source] = []  # what other apps find for a text: entries like ours


@page
def search(request: HttpRequest) -> HttpResponseBase:
    """Machines by name, address, owner or image, and the verbs that fit the first of them."""
    text = request.GET.get("q", "")[:100].strip()
    if len(text) < SHORTEST:
        return JsonResponse({"results": []})
    found = queries.list_vms_for(reader(request), limit=FOUND_AT_MOST, search=text)
    cards = cards_for(reader(request), found.items)
    results = [_machine(card) for card in cards]
    for source in SOURCES:
        results += source(request, text)
    for card in cards[:WITH_VERBS]:
        results += _verbs(card)
    return JsonResponse({"results": results})


def _machine(card: VmCard) -> dict[str, Any]:
    note = ", ".join([str(Status(card.status).label), *card.addresses[:1]])
    href = reverse("vms:detail", args=[card.vm.pk])
    return {"group": "machines", "icon": "machine", "text": card.vm.name, "note": note, "href": href}


def _verbs(card: VmCard) -> list[dict[str, Any]]:
    name = card.vm.name
    found: list[dict[str, Any]] = []
    if card.may_console:
        href = reverse("vms:console", args=[card.vm.pk])
        found.append({"group": "do", "icon": "console", "text": _("Open console of %s") % name, "href": href})
    for verb in [card.main_verb, *card.menu_verbs]:
        if verb is not None:
            where = {"href": verb.url, "dialog": True} if verb.dialog else {"post": verb.url}
            found.append({"group": "do", "icon": verb.icon or "right", "text": f"{verb.label}: {name}", **where})
    return found
