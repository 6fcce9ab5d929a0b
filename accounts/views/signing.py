"""Signing in and out, signing up, a new password, and what one chose for oneself."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, update_session_auth_hash, views
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from .. import services
from ..actor import Actor
from ..door import act, next_url, page, reader
from ..forms import PasswordForm, PreferencesForm, SignInForm, SignUpForm
from ..refusals import BadInput

BACKEND = "django.contrib.auth.backends.ModelBackend"


class SignIn(views.LoginView):
    """Name and password. Too many wrong ones end at `accounts/locked.html`, by django-axes."""

    template_name = "accounts/login.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True
    extra_context = {"signup": settings.SIGNUP}

    def form_invalid(self, form: Any) -> HttpResponse:
        """Answer 422, which tells scripts and tests what a page tells people."""
        response = super().form_invalid(form)
        response.status_code = 422
        return response


@never_cache
@sensitive_post_parameters("password")
def sign_up(request: HttpRequest) -> HttpResponseBase:
    """Make an account of one's own, where this portal allows it."""
    if not settings.SIGNUP:
        raise Http404
    if request.user.is_authenticated:
        return redirect("home")
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = services.create_user(Actor.system(), **form.cleaned_data)
        except BadInput as refusal:
            form.take(refusal)
        else:
            login(request, user, backend=BACKEND)
            return redirect("home")
    return render(request, "accounts/signup.html", {"form": form}, status=422 if form.errors else 200)


@sensitive_post_parameters("old_password", "new_password1", "new_password2")
@page
def password(request: HttpRequest) -> HttpResponseBase:
    """Change one's password. Other logins end; this one goes on."""
    form = PasswordForm(reader(request), request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.change_password(Actor.of(request), form.cleaned_data["new_password1"])
        update_session_auth_hash(request, reader(request))
        messages.success(request, _("Password changed. Your other logins have ended."))
        return redirect("accounts:password")
    context = {"form": form, "crumbs": [{"label": _("Home"), "href": reverse("home")}, {"label": _("Password")}]}
    return render(request, "accounts/password.html", context, status=422 if form.errors else 200)


@act
def preferences(request: HttpRequest) -> HttpResponseBase:
    """Keep what one chose for oneself."""
    form = PreferencesForm(request.POST)
    if form.is_valid():
        services.set_preferences(Actor.of(request), **form.cleaned_data)
    return redirect(next_url(request))
