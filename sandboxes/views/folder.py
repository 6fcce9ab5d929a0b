"""A folder of a sandbox: what is in it, and a way to get each of that. Listed in the guest whenever it is looked at."""

from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.access import Verb
from accounts.door import by_script, page, reader
from accounts.refusals import BadInput, Refusal

from .. import gateway_runs
from ..presenting.folders import FolderView, home_of
from ..queries import get_sandbox_for


@page
def folder(request: HttpRequest, vm_id: UUID) -> HttpResponseBase:
    """Show one, the default user's home unless told; alone for a script."""
    vm = get_sandbox_for(reader(request), vm_id, Verb.CONSOLE).vm
    path = request.GET.get("path") or home_of(vm)
    problem, entries, more = "", [], False
    try:
        entries, more = gateway_runs.list_folder(vm, path)
    except BadInput as bad:
        problem = str(next(iter(bad.fields.values()))[0])
    except Refusal as refusal:
        problem = str(refusal.detail)
    detail = reverse("sandboxes:detail", args=[vm_id])
    context = {
        "vm": vm,
        "folder": FolderView(vm, path, entries, more),
        "problem": problem,
        "back": detail,
        "crumbs": [
            {"label": _("Sandboxes"), "href": reverse("sandboxes:list")},
            {"label": vm.name, "href": detail},
            {"label": _("Files")},
        ],
    }
    return render(request, "sandboxes/folder.html" if by_script(request) else "sandboxes/folder_page.html", context)
