"""`manage.py add_image NAME PATH`: copy a qcow2 file that we built into the catalogue."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from vms.models import Image

KNOWN = {
    "micro": (
        "Micro Linux",
        "Kernel, busybox, SSH and guest agent. Up in seconds: right for a first look and for tests.",
        128,
    ),
    "debian-12": ("Debian 12", "Debian 12 (bookworm) with cloud-init, systemd and SSH.", 384),
}


class Command(BaseCommand):
    help = "Adds a trusted, freshly built image to the catalogue. The same content twice changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("path", type=Path)

    def handle(self, *args: Any, name: str, path: Path, **options: Any) -> None:
        if not path.is_file():
            raise CommandError(f"There is no file {path}. Build it with ./dev image {name}.")
        digest = file_digest(path)
        image = Image.objects.filter(name=name).first()
        if image and image.sha256 == digest and (images_dir() / image.file_name).is_file():
            return
        file_name = store(path, name, digest)
        title, description, memory = KNOWN.get(name, (name, "", 128))
        Image.objects.update_or_create(
            name=name,
            defaults={
                "title": title,
                "description": description,
                "min_memory_mib": memory,
                "file_name": file_name,
                "sha256": digest,
                "size_bytes": path.stat().st_size,
                "virtual_size_bytes": virtual_size(path),
                "active": True,
            },
        )


def images_dir() -> Path:
    return Path(settings.DATA_DIR) / "images"


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def store(path: Path, name: str, digest: str) -> str:
    """Copy the file to its place, read-only, under a name with its digest: disks on an older build keep theirs."""
    folder = images_dir()
    folder.mkdir(parents=True, exist_ok=True)
    file_name = f"{name}-{digest[:12]}.qcow2"
    temporary = folder / f".{file_name}.{os.getpid()}"
    shutil.copyfile(path, temporary)
    temporary.chmod(0o444)
    temporary.replace(folder / file_name)
    return file_name


def virtual_size(path: Path) -> int:
    """Return the disk size in bytes that the image's header states; the file is ours, so qemu-img may read it."""
    command = ["qemu-img", "info", "-f", "qcow2", "--output=json", str(path)]
    found = subprocess.run(command, check=True, capture_output=True, timeout=30)
    return int(json.loads(found.stdout)["virtual-size"])
