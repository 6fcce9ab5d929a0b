"""Sealed columns: secrets that rest in the database encrypted under a key derived from the secret key."""

import base64
import json
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


@lru_cache(maxsize=4)
def _box(secret_key: str) -> Fernet:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"slipway sealed column").derive(secret_key.encode())
    return Fernet(base64.urlsafe_b64encode(key))


def seal(value: dict[str, Any]) -> bytes:
    """Return the JSON of `value`, encrypted and authenticated."""
    return _box(settings.SECRET_KEY).encrypt(json.dumps(value).encode())


def unseal(sealed: bytes | memoryview) -> dict[str, Any]:
    """Return what was sealed; cryptography.fernet.InvalidToken after a change of the secret key."""
    found: dict[str, Any] = json.loads(_box(settings.SECRET_KEY).decrypt(bytes(sealed)))
    return found
