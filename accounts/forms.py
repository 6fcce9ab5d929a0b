"""The forms of people, tokens and projects, and the look that every form of the portal shares."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .dimensions import Dimension
from .models import ApiToken, Project, Role, User
from .refusals import BadInput

PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
_MONO = {**PLAIN, "class": "sw-mono"}
_PASSWORD_RULES = _("At least 10 characters. Not your name, and not one that everybody uses.")


_CLASSES: dict[type[forms.Widget], str] = {
    forms.Select: "form-select",
    forms.CheckboxInput: "form-check-input",
    forms.RadioSelect: "",
    forms.HiddenInput: "",
}


class SlipwayForm(forms.Form):
    """A form in our look: every widget gets its class, and errors of a service land at their fields."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            widget = field.widget
            _add_class(widget, _CLASSES.get(widget.__class__, "form-control"))

    def take(self, refusal: BadInput) -> None:
        """Put a service's sentences at the fields that they are about."""
        for name, sentences in refusal.fields.items():
            for sentence in sentences:
                self.add_error(name if name in self.fields else None, str(sentence))


def _add_class(widget: forms.Widget, name: str) -> None:
    if name:
        widget.attrs["class"] = f"{widget.attrs.get('class', '')} {name}".strip()


def _username(**attributes: Any) -> forms.CharField:
    return forms.CharField(
        label=_("Name"),
        max_length=150,
        validators=[UnicodeUsernameValidator()],
        widget=forms.TextInput(attrs={**PLAIN, **attributes}),
    )


class SignInForm(SlipwayForm, AuthenticationForm):
    """Name and password. The answer never says which of the two was wrong."""

    error_messages = {
        "invalid_login": _("Name and password do not match. Both are case-sensitive."),
        "inactive": _("Name and password do not match. Both are case-sensitive."),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = _("Name")
        self.fields["password"].label = _("Password")
        self.fields["username"].widget.attrs |= {"spellcheck": "false", "autocapitalize": "none"}


class SignUpForm(SlipwayForm):
    """A new account."""

    username = _username(autocomplete="username", autofocus=True)
    email = forms.EmailField(
        label=_("E-mail"), required=False, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        help_text=_PASSWORD_RULES,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean(self) -> dict[str, Any]:
        """Check the password against the rules, the name included."""
        cleaned: dict[str, Any] = super().clean() or {}
        if "password" in cleaned and "username" in cleaned:
            try:
                validate_password(cleaned["password"], User(username=cleaned["username"]))
            except forms.ValidationError as error:
                self.add_error("password", error)
        return cleaned


class NewPersonForm(SignUpForm):
    """An account made by staff, with a first password that they hand over."""

    is_staff = forms.BooleanField(label=_("Is staff: sets quotas and sees every machine"), required=False)


class PasswordForm(SlipwayForm, PasswordChangeForm):
    """The old password once, the new one twice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["old_password"].label = _("Current password")
        self.fields["new_password1"].label = _("New password")
        self.fields["new_password2"].label = _("New password, again")
        self.fields["new_password1"].help_text = _PASSWORD_RULES
        self.fields["new_password2"].help_text = ""


class PreferencesForm(forms.Form):
    """What a person chose for themselves."""

    single_keys = forms.BooleanField(required=False)


class TokenForm(SlipwayForm):
    """A new API token."""

    LIFETIMES = {"30": _("30 days"), "90": _("90 days"), "365": _("1 year"), "": _("Until it is revoked")}

    name = forms.CharField(
        label=_("Name"),
        max_length=64,
        help_text=_("Where it is used, such as ci-deploy. You will know it by this name."),
        widget=forms.TextInput(attrs=PLAIN),
    )
    scope = forms.ChoiceField(
        label=_("It may"), choices=ApiToken.Scope.choices, initial=ApiToken.Scope.READ, widget=forms.RadioSelect
    )
    lifetime = forms.ChoiceField(
        label=_("It ends after"), choices=list(LIFETIMES.items()), initial="90", required=False
    )

    def expires_at(self) -> datetime | None:
        """Return the moment that was chosen, or None."""
        days = self.cleaned_data["lifetime"]
        return timezone.now() + timedelta(days=int(days)) if days else None


class MemberForm(SlipwayForm):
    """Somebody who shall belong to a project."""

    username = forms.CharField(label=_("Name"), max_length=150, widget=forms.TextInput(attrs=_MONO))
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.MEMBER)


class NewProjectForm(SlipwayForm):
    """A shared project and its first owner."""

    name = forms.SlugField(
        label=_("Name"), max_length=63, help_text=_("Letters, digits and hyphens."), widget=forms.TextInput(attrs=_MONO)
    )
    owner = forms.CharField(label=_("Its owner's name"), max_length=150, widget=forms.TextInput(attrs=_MONO))

    def clean_owner(self) -> User:
        """Return the active user of this name."""
        found = User.objects.filter(username=self.cleaned_data["owner"], is_active=True).first()
        if found is None:
            raise forms.ValidationError(_("Nobody of that name has an account here."))
        return found

    def clean_name(self) -> str:
        """Refuse a name that is taken, before a service has to."""
        name: str = self.cleaned_data["name"]
        if Project.objects.filter(name=name).exists():
            raise forms.ValidationError(_("This name is taken."))
        return name


class LimitsForm(SlipwayForm):
    """A limit for every dimension; an empty field is no limit. `seen` tells which limits the form was filled from."""

    seen = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for dimension in Dimension:
            unit = " (MiB)" if "memory" in dimension else " (GiB)" if dimension == Dimension.DISK_GIB else ""
            field = forms.IntegerField(
                label=f"{dimension.label}{unit}",
                required=False,
                min_value=0,
                max_value=2**53 - 1,
                widget=forms.NumberInput(
                    attrs={"class": "form-control sw-num", "placeholder": _("unlimited"), "min": 0}
                ),
            )
            self.fields[dimension.value] = field

    @property
    def limit_fields(self) -> list[forms.BoundField]:
        """The fields of the limits, in the order of the dimensions."""
        return [self[dimension.value] for dimension in Dimension]

    @property
    def limits(self) -> dict[str, int | None]:
        """The limits that were asked for."""
        return {dimension.value: self.cleaned_data[dimension.value] for dimension in Dimension}
