"""The container images: what they take of the tree is enough to run it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = "import console.asgi, portal.asgi; from portal.celery import app; app.loader.import_default_modules(); "
PROGRAMS += "from portal.management.commands import node_agent"


def test_what_an_image_copies_is_all_that_it_needs(tmp_path):
    copied = re.findall(
        r"^COPY (?!--from)(\S+) (\S+)$", (ROOT / "Dockerfile").read_text().split(" AS web\n")[1], re.MULTILINE
    )
    assert ("manage.py", "./") in copied
    for source, target in copied:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, tmp_path / target)
    own = {"SLIPWAY_VAR_DIR": str(tmp_path / "var"), "DJANGO_SETTINGS_MODULE": "portal.settings", "PYTHONPATH": ""}
    for arguments in (["manage.py", "check"], ["-c", f"import django; django.setup(); {PROGRAMS}"]):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | own,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
