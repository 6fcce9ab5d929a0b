"""API tokens: made here, their secret shown once, revoked here."""

from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from .. import services
from ..actor import Actor
from ..door import answer, ask, page, reader
from ..forms import TokenForm
from ..models import ApiToken
from ..refusals import NotVisible


@page
def tokens(request: HttpRequest) -> HttpResponseBase:
    """One's own tokens, and a form for another. The secret of a new one stands in the answer and nowhere else."""
    form = TokenForm(request.POST or None)
    made = secret = None
    if request.method == "POST" and form.is_valid():
        made, secret = services.issue_token(
            Actor.of(request),
            form.cleaned_data["name"],
            scope=form.cleaned_data["scope"],
            expires_at=form.expires_at(),
        )
        form = TokenForm()
    context = {
        "form": form,
        "made": made,
        "secret": secret,
        "base": f"{request.scheme}://{request.get_host()}",
        "tokens": ApiToken.objects.filter(user=reader(request), revoked_at=None),
        "now": timezone.now(),
    }
    return render(request, "accounts/tokens.html", context, status=422 if form.errors else 200)


@page
def revoke(request: HttpRequest, token_id: UUID) -> HttpResponseBase:
    """Ask, then revoke a token."""
    token = ApiToken.objects.filter(id=token_id, user=reader(request), revoked_at=None).first()
    if token is None:
        raise NotVisible
    if request.method == "POST":
        services.revoke_token(Actor.of(request), token_id)
        return answer(request, _("%(name)s is revoked.") % {"name": token.name}, go=reverse("accounts:tokens"))
    context = {"token": token, "heading": token.name, "back": reverse("accounts:tokens")}
    return ask(request, "accounts/ask_revoke.html", context)
