"""The page of one operation."""

from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.door import page, reader

from ..presenting.operation_page import operation_context


@page
def operation(request: HttpRequest, operation_id: UUID) -> HttpResponseBase:
    """Show one operation to whoever may see its project, also when its machine has gone."""
    context = operation_context(reader(request), operation_id)
    view = context["view"]
    crumbs = [{"label": _("Machines"), "href": reverse("vms:list")}]
    if view.of_a_sandbox:
        crumbs = [{"label": _("Sandboxes"), "href": reverse("sandboxes:list")}]
    if view.machine:
        crumbs.append({"label": view.machine.vm.name, "href": view.machine_href})
    crumbs.append({"label": str(view.card.title)})
    return render(request, "vms/operation.html", context | {"crumbs": crumbs})
