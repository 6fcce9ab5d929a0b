"""Debian packages from the mirrors that this machine's own apt is set up with; no mirror is named here."""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .steps import BuildError, run

CODENAME = "bookworm"
KERNEL_META = "linux-image-cloud-amd64"
# What a guest without manual pages, translations or an initramfs generator never reads.
UNWANTED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/bash-completion",
    "usr/share/initramfs-tools",
    "usr/share/gdb",
    "usr/lib/x86_64-linux-gnu/gconv",
)


@dataclass(frozen=True)
class Source:
    """One apt source: where it is, its suite and components, and the keyring that signs it (or empty)."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str

    def line(self) -> str:
        """The source as a line of sources.list(5)."""
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {option}{self.uri} {self.suite} {' '.join(self.components)}"


def debian_sources() -> list[Source]:
    """The Debian 12 sources in this machine's apt settings; others (third parties, backports) are left out.

    Raises BuildError when there is none, because its lists are missing or it is not a Debian 12 machine.
    """
    fields = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)|$(ORIGIN)"
    listing = run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"])
    components: dict[tuple[str, str, str], list[str]] = {}
    for entry in listing.splitlines():
        uri, suite, component, signed_by, origin = entry.split("|")
        if origin != "Debian" or suite not in (CODENAME, f"{CODENAME}-updates", f"{CODENAME}-security"):
            continue
        # apt prints a field that is not set as its own name
        keyring = signed_by if signed_by.startswith("/") else ""
        components.setdefault((uri, suite, keyring), []).append(component)
    sources = [Source(uri, suite, tuple(sorted(set(c))), keyring) for (uri, suite, keyring), c in components.items()]
    if not any(source.suite == CODENAME for source in sources):
        raise BuildError(
            f"No Debian 12 ({CODENAME}) source is known to apt here: run `apt-get update`, or build the image"
            " on a Debian 12 machine and copy the file."
        )
    return sources


def kernel_package() -> str:
    """The name of the package that the cloud kernel's metapackage stands for, with its version in it."""
    for entry in run(["apt-cache", "depends", "--important", KERNEL_META]).splitlines():
        word = entry.split()[-1]
        if word.startswith("linux-image-") and word != KERNEL_META:
            return word
    raise BuildError(f"apt knows no {KERNEL_META}: run `apt-get update` and try again.")


def download(names: Sequence[str], cache: Path) -> list[Path]:
    """Fetches packages (apt checks their signatures) into a folder and returns their files, in the names' order.

    A package that is there already, in the version that apt would take, is not fetched again.
    """
    cache.mkdir(parents=True, exist_ok=True)
    apt = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download"]
    files: dict[str, Path] = {}
    absent: list[str] = []
    # apt leaves out what lies in the folder where it runs, so an empty one is asked
    with tempfile.TemporaryDirectory() as empty:
        listing = run([*apt, "--print-uris", *names], cwd=Path(empty))
    # one line a package: 'URI' file-name size checksum
    for line in listing.splitlines():
        file_name, size = line.split()[1:3]
        name, file = file_name.split("_")[0], cache / file_name
        files[name] = file
        if not file.exists() or file.stat().st_size != int(size):
            file.unlink(missing_ok=True)
            absent.append(name)
    if absent:
        run([*apt, *absent], cwd=cache)
    unknown = [name for name in names if name not in files or not files[name].exists()]
    if unknown:
        raise BuildError(f"apt cannot fetch {', '.join(unknown)}: run `apt-get update` and try again.")
    return [files[name] for name in names]


def unpack(files: Iterable[Path], tree: Path) -> None:
    """Unpacks packages into a folder without running their scripts, and drops what no guest of ours reads."""
    tree.mkdir(parents=True, exist_ok=True)
    for file in files:
        run(["dpkg-deb", "--extract", file, tree])
    for folder in UNWANTED:
        shutil.rmtree(tree / folder, ignore_errors=True)
