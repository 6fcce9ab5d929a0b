"""What every view of a page shares: who may enter, how refusals are answered, where an act leads afterwards."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache

from .models import User
from .refusals import Forbidden, NotVisible, Refusal

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]
SCRIPT_HEADER = "X-Slipway-Script"


def page(view: View[P]) -> View[P]:
    """A page for signed-in people. What may not be seen is a 404, what may not be done a 403."""

    @wraps(view)
    def inner(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except NotVisible as refusal:
            raise Http404 from refusal
        except Forbidden as refusal:
            raise PermissionDenied(str(refusal.detail)) from refusal

    return never_cache(login_required(inner))


def act(view: View[P]) -> View[P]:
    """A POST that does one thing. A refusal becomes a sentence: in the answer for scripts, else on the next page."""

    @wraps(view)
    def inner(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if request.method != "POST":
            return HttpResponse(status=405, headers={"Allow": "POST"})
        try:
            return view(request, *args, **kwargs)
        except NotVisible as refusal:
            raise Http404 from refusal
        except Refusal as refusal:
            return refused(request, refusal)

    return never_cache(login_required(inner))


def staff_only(view: View[P]) -> View[P]:
    """Below `page` or `act`: for staff. To others there is no such page."""

    @wraps(view)
    def inner(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not reader(request).is_staff:
            raise NotVisible
        return view(request, *args, **kwargs)

    return inner


def reader(request: HttpRequest) -> User:
    """The signed-in user."""
    assert isinstance(request.user, User)
    return request.user


def by_script(request: HttpRequest) -> bool:
    """Does a script of ours ask, which wants a fragment or a sentence and no whole page?"""
    return SCRIPT_HEADER in request.headers


def ask(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """Show a question: alone for a script, which puts it into a dialog, else as a page of its own."""
    shown = template if by_script(request) else "vms/ask_page.html"
    return render(request, shown, context | {"ask": template}, status=status)


def answer(
    request: HttpRequest, sentence: str | Promise, *, go: str = "", operation: UUID | None = None
) -> HttpResponseBase:
    """Say that it was done. `go` is where to, when staying makes no sense (what was looked at is gone).

    `operation` carries it out: what is said leads to its page.
    """
    follow = {"follow": reverse("operation", args=[operation])} if operation else {}
    if by_script(request) and not go:
        return JsonResponse({"say": str(sentence)} | follow)
    messages.success(request, str(sentence), extra_tags=follow.get("follow", ""))
    if by_script(request):
        return JsonResponse({"go": go})
    return redirect(go or next_url(request))


def refused(request: HttpRequest, refusal: Refusal) -> HttpResponseBase:
    """Say why it was not done."""
    if by_script(request):
        body: dict[str, Any] = {"say": str(refusal.detail), "kind": "bad", "code": refusal.code}
        return JsonResponse(body, status=refusal.status)
    messages.error(request, str(refusal.detail))
    return redirect(next_url(request))


def next_url(request: HttpRequest) -> str:
    """Where the form came from, if that is a page of ours."""
    wanted = request.POST.get("next", "")
    if wanted and url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return reverse("home")
