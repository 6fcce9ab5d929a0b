"""The forms of sandboxes. They shape what people type; whether it is acceptable is the services' word."""

from typing import Any

from django import forms
from django.forms import BoundField
from django.utils.translation import gettext_lazy as _

from accounts.forms import PLAIN, SlipwayForm
from accounts.models import Project

from .presenting.cards import NETWORK_SHORT
from .services import NewRun, NewTemplate
from .states import NetworkMode

DEFAULT_TIMEOUT_SECONDS = 600
EVERYBODY = ""


class NewSandboxForm(SlipwayForm):
    """What may be chosen for a new sandbox; what is left empty comes from the template."""

    name = forms.CharField(required=False, max_length=63)
    project = forms.CharField(required=False)
    network = forms.CharField(required=False)
    lease_minutes = forms.IntegerField(required=False)


class RunForm(SlipwayForm):
    """A command for the guest's shell."""

    command = forms.CharField(max_length=48 * 1024, strip=False)
    cwd = forms.CharField(required=False, max_length=1000)
    timeout_seconds = forms.IntegerField(required=False)
    env = forms.CharField(required=False, strip=False)

    def clean_env(self) -> dict[str, str]:
        """Return variables from lines like NAME=value."""
        lines = [line for line in self.cleaned_data["env"].splitlines() if line.strip()]
        if any("=" not in line for line in lines):
            raise forms.ValidationError(_("One variable a line, as NAME=value."))
        return {name.strip(): value for name, _equals, value in (line.partition("=") for line in lines)}

    @property
    def asked(self) -> NewRun:
        """The run, for the service."""
        data = self.cleaned_data
        return NewRun(
            command=data["command"],
            cwd=data["cwd"],
            env=data["env"],
            timeout_seconds=data["timeout_seconds"] or DEFAULT_TIMEOUT_SECONDS,
        )


class NewTemplateForm(SlipwayForm):
    """A new template. `image`, `flavor` and `project` are names; the project is empty where it is everybody's."""

    name = forms.CharField(
        label=_("Name"),
        max_length=50,
        help_text=_("Sandboxes are named after it: small letters, digits and hyphens, a letter first."),
        widget=forms.TextInput(attrs={**PLAIN, "class": "sw-mono", "autofocus": True}),
    )
    project = forms.ChoiceField(
        label=_("Whose"),
        required=False,
        help_text=_("The memory of a project's template is only ever given to sandboxes of that project."),
    )
    description = forms.CharField(label=_("Description"), required=False, max_length=300)
    image = forms.CharField(label=_("Image"), error_messages={"required": _("Pick an image.")})
    flavor = forms.CharField(label=_("Size"), error_messages={"required": _("Pick a size.")})
    ready_script = forms.CharField(
        label=_("Ready script"),
        required=False,
        strip=False,
        help_text=_(
            "Run once by root while the template is prepared, with the Internet within reach: what it installs is "
            "there in every sandbox. It begins with #! and ends with exit code 0. No secrets: every sandbox has them."
        ),
        widget=forms.Textarea(attrs={**PLAIN, "rows": 6, "class": "sw-mono", "placeholder": "#!/bin/sh\n..."}),
    )
    network = forms.ChoiceField(
        label=_("Network of its sandboxes"),
        help_text=_("Out only: the Internet, and neither the host nor neighbours nor private addresses."),
    )
    lease_minutes = forms.TypedChoiceField(label=_("Its sandboxes live for"), coerce=int)
    idle_minutes = forms.IntegerField(
        label=_("Pause after minutes without use"),
        required=False,
        min_value=1,
        help_text=_(
            "A command that runs, an open console and a file that comes or goes are use. "
            "A paused sandbox's clock stands still."
        ),
    )
    share_ram = forms.BooleanField(
        label=_("Share memory pages between its sandboxes"),
        required=False,
        help_text=_(
            "Saves most of their memory. Off where sandboxes of one template must not be able to learn from each "
            "other's timing."
        ),
    )
    pool_size = forms.IntegerField(
        label=_("Clones that wait on each node"), required=False, min_value=0, max_value=50,
        help_text=_("They make a new sandbox come at once. Paused, they take memory and no processor time."),
    )  # fmt: skip

    def __init__(
        self, *args: Any, projects: list[Project], leases: list[tuple[int, str]], is_staff: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        whose = [(EVERYBODY, _("Everybody's"))] if is_staff else []
        self.fields["project"].choices = [*whose, *((p.name, p.name) for p in projects)]  # type: ignore[attr-defined]
        self.fields["lease_minutes"].choices = leases  # type: ignore[attr-defined]
        self.fields["network"].choices = [(mode, NETWORK_SHORT[mode]) for mode in NetworkMode.values]  # type: ignore[attr-defined]
        if not is_staff:
            del self.fields["pool_size"]

    @property
    def asked(self) -> NewTemplate:
        """The template, for the service."""
        data = dict(self.cleaned_data)
        data["project"] = data["project"] or None
        data["pool_size"] = data.get("pool_size") or 0
        return NewTemplate(**data)

    @property
    def folds(self) -> list[BoundField]:
        """What is folded away at first."""
        return [self["idle_minutes"]]


class PoolForm(SlipwayForm):
    """How many clones of a template wait on each node."""

    pool_size = forms.IntegerField(label=_("Clones that wait on each node"), min_value=0, max_value=50)
