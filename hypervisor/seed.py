"""The NoCloud seed: an ISO 9660 image labelled `cidata` with exactly three files (docs/images.md).

Every scalar of ours is written as a JSON string, which YAML reads as the same string; the tenant's user-data is copied
as it is and never parsed here.
Source: https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
"""

import hashlib
import io
import json

from pycdlib.pycdlib import PyCdlib

from .errors import BadSpec
from .specs import SeedSpec

MAX_USER_DATA_BYTES = 64 * 1024
DEFAULT_USER_DATA = b"#cloud-config\n{}\n"
VOLUME_LABEL = "cidata"

# Where the image's digest stands: in the "application use" field of the primary volume descriptor, sector 16.
DIGEST_OFFSET = 16 * 2048 + 883
DIGEST_LENGTH = 64


def seed_files(spec: SeedSpec) -> dict[str, bytes]:
    """The three files by name; BadSpec for user-data over 64 KiB and for text that UTF-8 cannot carry."""
    if len(spec.user_data) > MAX_USER_DATA_BYTES:
        raise BadSpec(f"user-data of {len(spec.user_data)} bytes")
    meta = [f"instance-id: {_quoted(str(spec.instance_id))}"]
    meta += [f"local-hostname: {_quoted(spec.hostname)}"] if spec.hostname else []
    if spec.ssh_keys:
        meta += ["public-keys:", *(f"- {_quoted(key)}" for key in spec.ssh_keys)]
    vendor = ["#cloud-config"]
    if spec.password_hash:
        vendor += [f"password: {_quoted(spec.password_hash)}", "chpasswd: {expire: false}", "ssh_pwauth: true"]
    return {
        "meta-data": _lines(meta),
        "vendor-data": _lines(vendor),
        "user-data": spec.user_data or DEFAULT_USER_DATA,
    }


def seed_digest(spec: SeedSpec) -> str:
    """A digest of the files, to tell whether an image that is already there is this one."""
    digest = hashlib.sha256()
    for name, content in seed_files(spec).items():
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def build_seed(spec: SeedSpec) -> bytes:
    """The ISO image, with Rock Ridge and Joliet names. BadSpec as `seed_files`."""
    iso = PyCdlib()
    iso.new(interchange_level=3, vol_ident=VOLUME_LABEL, joliet=3, rock_ridge="1.09", app_use=seed_digest(spec))
    for name, content in seed_files(spec).items():
        plain = name.replace("-", "").upper()
        iso.add_fp(io.BytesIO(content), len(content), f"/{plain}.;1", rr_name=name, joliet_path=f"/{name}")
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _lines(lines: list[str]) -> bytes:
    try:
        return ("\n".join(lines) + "\n").encode()
    except UnicodeEncodeError as error:
        raise BadSpec(f"seed: {error}") from error
