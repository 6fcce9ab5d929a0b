"""What people type, checked before anything is made of it. Each `check_*` adds sentences to `errors`."""

import base64
import binascii
import re
from collections.abc import Sequence

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Errors = dict[str, list[str | Promise]]
NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
KEY_TYPES = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
MAX_KEYS = 20
MAX_KEY_LENGTH = 2000
MAX_USER_DATA_BYTES = 64 * 1024


def check_name(name: str, errors: Errors) -> None:
    """A machine's name is its host name: letters, digits, hyphens, at most 63."""
    if len(name) > 63 or not NAME.fullmatch(name):
        errors["name"] = [
            _("Use small letters, digits and hyphens, a letter first, at most 63: the name becomes the host name.")
        ]


def check_text(field: str, text: str, longest: int, errors: Errors) -> None:
    """Text that only pages show: any language, but no control characters."""
    if len(text) > longest:
        errors[field] = [_("At most %(n)s characters.") % {"n": longest}]
    elif any(ord(char) < 32 and char not in "\n\t" for char in text):
        errors[field] = [_("Control characters cannot be kept.")]


def check_ssh_keys(keys: Sequence[str], errors: Errors) -> None:
    """OpenSSH public keys, one a line, as in authorized_keys but without options."""
    if len(keys) > MAX_KEYS:
        errors["ssh_keys"] = [_("At most %(n)s keys.") % {"n": MAX_KEYS}]
    elif bad := [number for number, key in enumerate(keys, 1) if not _is_key(key)]:
        errors["ssh_keys"] = [
            _("Key %(n)s is not an OpenSSH public key. It starts with ssh-ed25519, ssh-rsa or ecdsa-sha2-...")
            % {"n": bad[0]}
        ]


def _is_key(key: str) -> bool:
    if len(key) > MAX_KEY_LENGTH or not key.isprintable():
        return False
    parts = key.split(None, 2)
    if len(parts) < 2 or parts[0] not in KEY_TYPES:
        return False
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        return False
    kind = parts[0].encode()
    return blob.startswith(len(kind).to_bytes(4, "big") + kind)


def check_password(password: str, errors: Errors) -> None:
    """A console password. bcrypt reads 72 bytes, so a longer one would silently be cut."""
    if not password:
        return
    if len(password) < 6:
        errors["password"] = [_("At least 6 characters.")]
    elif len(password.encode()) > 72 or not password.isprintable():
        errors["password"] = [_("At most 72 bytes, without control characters.")]


def check_user_data(text: str, errors: Errors) -> None:
    """Opaque bytes for the guest; nothing here parses them."""
    if len(text.encode("utf-8", "replace")) > MAX_USER_DATA_BYTES:
        errors["user_data"] = [_("At most 64 KiB. Let the guest fetch what is larger.")]
    elif "\x00" in text:
        errors["user_data"] = [_("Zero bytes cannot be kept.")]
