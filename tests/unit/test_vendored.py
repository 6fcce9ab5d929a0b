"""The front-end files of others are the ones that were reviewed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_vendored_file_is_in_the_manifest_unchanged():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "vendor-frontend", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_vendored_package_has_its_licence_beside_it():
    for folder in (ROOT / "static" / "vendor").iterdir():
        if folder.is_dir():
            assert list(folder.glob("LICENSE*")), folder.name
