"""The image `debian-12`: an ordinary Debian with systemd and cloud-init, all of it from packages."""

import os
import shutil
import uuid
from pathlib import Path

from .disk import convert, write_disk
from .packages import CODENAME, debian_sources
from .programs import install_programs
from .steps import BuildError, lines, run, step

FILES = Path(__file__).resolve().parent.parent / "debian-12"
SIZE_MIB = 1536
LABEL = "debian-12"
# Manuals and translations are left out of the image, not of what its owner installs later.
WITHOUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
WITH = ("/usr/share/doc/*/copyright",)


def build(out: Path, cache: Path, work: Path) -> None:
    """Writes the qcow2 file; `work` is an empty folder on a disk with some 3 GB free."""
    tree = work / "root"
    root_uuid = str(uuid.uuid4())
    with step("installing packages (mmdebstrap)"):
        _bootstrap(tree)
    with step("setting it up"):
        _set_up(tree, root_uuid)
        install_programs(tree)
    with step("writing the disk"):
        write_disk(tree, work / "debian.raw", size_mib=SIZE_MIB, label=LABEL, uuid=root_uuid)
    with step("converting to qcow2"):
        convert(work / "debian.raw", out, compress=True)


def _bootstrap(tree: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise BuildError("mmdebstrap is not installed: `apt-get install mmdebstrap` and try again.")
    options = ["--dpkgopt=force-unsafe-io"]
    options += [f"--dpkgopt=path-exclude={pattern}" for pattern in WITHOUT]
    options += [f"--dpkgopt=path-include={pattern}" for pattern in WITH]
    # Before any package is set up: the kernel's own scripts read these files.
    for name in ("tiny-initramfs/tiny-initramfs.conf", "kernel-img.conf"):
        options.append(
            f'--essential-hook=mkdir -p "$1/etc/tiny-initramfs"; cp "{FILES}/root/etc/{name}" "$1/etc/{name}"'
        )
    sources = "".join(source.line() + "\n" for source in debian_sources())
    packages = ",".join(lines(FILES / "packages.txt"))
    run(
        [
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=apt",
            f"--include={packages}",
            *options,
            CODENAME,
            tree,
            "-",
        ],
        stdin=sources,
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )


def _set_up(tree: Path, root_uuid: str) -> None:
    """Our own files, owners, the boot loader's settings, and nothing that two machines would then share."""
    shutil.copytree(FILES / "root", tree, dirs_exist_ok=True)
    for file in (FILES / "root").rglob("*"):
        shutil.chown(tree / file.relative_to(FILES / "root"), 0, 0)
    settings = (FILES / "extlinux.conf").read_text().replace("@UUID@", root_uuid)
    (tree / "boot/extlinux.conf").write_text(settings)
    (tree / "etc/fstab").write_text(f"UUID={root_uuid} / ext4 defaults 0 1\n")
    (tree / "etc/hostname").write_text("debian\n")
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    (tree / "etc/resolv.conf").symlink_to("/run/systemd/resolve/stub-resolv.conf")
    (tree / "etc/dpkg/dpkg.cfg.d/99mmdebstrap").unlink(missing_ok=True)
    for unit in lines(FILES / "masked.txt"):
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    run(["chroot", tree, "systemctl", "--quiet", "enable", "systemd-networkd.service", "systemd-resolved.service"])
    _forget_identity(tree)
    _mark_as_updated(tree)


def _forget_identity(tree: Path) -> None:
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for name in ("var/lib/systemd/random-seed", "var/lib/dbus/machine-id"):
        (tree / name).unlink(missing_ok=True)
    # empty rather than absent: the first boot makes one without taking the whole system for a fresh install
    (tree / "etc/machine-id").write_text("")


def _mark_as_updated(tree: Path) -> None:
    """Spares the first boot what systemd does after an update of /usr (hardware database, linker cache, catalogue).

    Source: systemd.unit(5), ConditionNeedsUpdate; the files' times are compared with that of /usr.
    """
    changed = (tree / "usr").stat().st_mtime_ns
    for folder in ("etc", "var"):
        marker = tree / folder / ".updated"
        marker.write_text(f"TIMESTAMP_NSEC={changed}\n")
        os.utime(marker, ns=(changed, changed))
