"""The forms of machines. They shape what people type; whether it is acceptable is the services' word."""

from typing import Any

from django import forms
from django.forms import BoundField
from django.utils.translation import gettext_lazy as _

from accounts.forms import PLAIN, SlipwayForm
from accounts.models import Project

from .models import Flavor, Image, VirtualMachine


class NewVmForm(SlipwayForm):
    """A new machine. `image`, `flavor` and `project` are names, as in the API and on the command line."""

    request_key = forms.UUIDField(widget=forms.HiddenInput)
    name = forms.CharField(
        label=_("Name"),
        max_length=63,
        help_text=_("Also its host name: small letters, digits and hyphens, a letter first."),
        widget=forms.TextInput(attrs={**PLAIN, "class": "sw-mono", "autofocus": True}),
    )
    project = forms.ChoiceField(label=_("Project"), help_text=_("Whose quota it uses, and who else may see it."))
    image = forms.CharField(label=_("Image"), error_messages={"required": _("Pick an image.")})
    flavor = forms.CharField(label=_("Size"), error_messages={"required": _("Pick a size.")})
    description = forms.CharField(label=_("Description"), required=False, max_length=500)
    ssh_keys = forms.CharField(
        label=_("Public keys, one a line"),
        required=False,
        widget=forms.Textarea(attrs={**PLAIN, "rows": 3, "placeholder": "ssh-ed25519 AAAA..."}),
    )
    password = forms.CharField(
        label=_("Console password"),
        required=False,
        help_text=_("For the user slipway, at the console and over SSH. Kept as a hash only."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=True),
    )
    user_data = forms.CharField(
        label=_("User data"),
        required=False,
        strip=False,
        help_text=_("Starts with #cloud-config or #!. At most 64 KiB. No secrets: the guest keeps it readable."),
        widget=forms.Textarea(attrs={**PLAIN, "rows": 6, "placeholder": "#cloud-config\npackages: [git]"}),
    )
    start = forms.BooleanField(label=_("Start it when it is ready"), required=False, initial=True)

    def __init__(self, *args: Any, projects: list[Project], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = self.fields["project"]
        assert isinstance(choices, forms.ChoiceField)
        choices.choices = [(project.name, project.name) for project in projects]

    def clean_ssh_keys(self) -> tuple[str, ...]:
        """Return the keys, without empty lines."""
        return tuple(line.strip() for line in self.cleaned_data["ssh_keys"].splitlines() if line.strip())

    @property
    def folds(self) -> dict[str, list[BoundField]]:
        """The parts that are folded away at first, by their names in the template."""
        return {
            "keys": [self["ssh_keys"], self["password"]],
            "first_boot": [self["user_data"]],
            "more": [self["description"]],
        }


class EditForm(SlipwayForm):
    """Name and description of a machine."""

    name = forms.CharField(
        label=_("Name"),
        max_length=63,
        help_text=_("The host name inside the guest stays as it is."),
        widget=forms.TextInput(attrs={**PLAIN, "class": "sw-mono", "autofocus": True}),
    )
    description = forms.CharField(
        label=_("Description"), required=False, max_length=500, widget=forms.Textarea(attrs={"rows": 2})
    )


class ResizeForm(SlipwayForm):
    """A new size for a machine that is off."""

    flavor = forms.CharField(label=_("Size"), error_messages={"required": _("Pick a size.")})


class ConfirmNameForm(SlipwayForm):
    """The machine's name, typed before it is lost for good."""

    sure = forms.CharField(
        required=False, widget=forms.TextInput(attrs={**PLAIN, "class": "sw-mono", "autofocus": True})
    )

    def __init__(self, *args: Any, vm: VirtualMachine, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.vm = vm
        self.fields["sure"].label = _("Type %(name)s to confirm") % {"name": vm.name}
        self.fields["sure"].widget.attrs["data-needs"] = vm.name

    def clean_sure(self) -> str:
        """Refuse anything but the name."""
        typed = self.cleaned_data["sure"].strip()
        if typed != self.vm.name:
            raise forms.ValidationError(_("Type %(name)s, exactly.") % {"name": self.vm.name})
        return str(typed)


class CordonForm(SlipwayForm):
    """Why a node takes no new machines."""

    reason = forms.CharField(
        label=_("Why"),
        required=False,
        max_length=200,
        help_text=_("Staff see it at the desk. People are told only that there is no room."),
        widget=forms.TextInput(attrs={**PLAIN, "autofocus": True}),
    )


def offered_images() -> list[Image]:
    """Return the images that can be picked."""
    return list(Image.objects.filter(active=True).order_by("name"))


def offered_flavors() -> list[Flavor]:
    """Return the sizes that can be picked, small to large."""
    return list(Flavor.objects.filter(active=True))
