"""What the API takes. Types are taken literally ("5" is no number), and a field that is not here is refused."""

from typing import Annotated, Literal

from django.utils.translation import gettext_lazy as _
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from accounts.models import ApiToken, Role


def _storable(text: str) -> str:
    """Refuse what no database takes, and JSON can say: zero bytes, and halves of a character."""
    if "\x00" in text:
        raise PydanticCustomError("zero_byte", str(_("Zero bytes cannot be kept.")))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("half_character", str(_("This is not valid text."))) from None
    return text


Text = Annotated[str, AfterValidator(_storable)]
Ref = Annotated[Text, Field(min_length=1, max_length=100, description="An id or a name.")]
Limits = dict[Annotated[Text, Field(max_length=32)], Annotated[int, Field(ge=0, lt=2**53)] | None]


class Asked(BaseModel):
    """A body: unknown fields are refused, types are not guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Nothing(Asked):
    """No fields at all."""


class NewVm(Asked):
    name: Text
    image: Ref
    flavor: Ref
    project: Ref | None = Field(None, description="An id or a name; your personal project where it is left out.")
    description: Text = ""
    ssh_keys: list[Text] = Field([], description="OpenSSH public keys for the image's default user.")
    password: Text = Field("", description="For the image's default user, at the console and over SSH.")
    user_data: Text = Field("", description="cloud-init user data or a script, at most 64 KiB.")
    start: bool = True


class VmPatch(Asked):
    """Fields that are left out stay."""

    name: Text = ""
    description: Text = ""


class Resize(Asked):
    flavor: Ref


class Console(Asked):
    kind: Literal["vnc", "serial", "ssh"]


class QuotaChange(Asked):
    """Dimensions that are left out stay; null is unlimited, 0 is none."""

    limits: Limits = {}
    member_limits: dict[Annotated[Text, Field(max_length=150)], Limits] = {}


class Membership(Asked):
    username: Annotated[Text, Field(min_length=1, max_length=150)]
    role: Annotated[Role, Field(strict=False)] = Role.MEMBER


class NewToken(Asked):
    name: Annotated[Text, Field(min_length=1, max_length=64)]
    scope: Annotated[ApiToken.Scope, Field(strict=False)] = ApiToken.Scope.WRITE
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = None


class Cordon(Asked):
    reason: Annotated[Text, Field(max_length=200)] = ""
