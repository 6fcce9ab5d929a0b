"""The image `micro`: Debian's cloud kernel, busybox, dropbear and the guest agent on a small ext4 root."""

import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from .disk import convert, write_disk
from .packages import download, kernel_package, unpack
from .programs import install_programs
from .steps import BuildError, lines, run, step

FILES = Path(__file__).resolve().parent.parent / "micro"
SIZE_MIB = 512
LABEL = "slipway-micro"
FOLDERS = ("dev", "etc/dropbear", "home/slipway/.ssh", "mnt", "proc", "root", "run", "sys", "usr/local/bin", "var/log")
STATE = "var/lib/slipway"
# What the guest runs; each must find all of its shared libraries.
PROGRAMS = (
    "bin/bash",
    "bin/login",
    "lib/x86_64-linux-gnu/security/pam_unix.so",
    "sbin/resize2fs",
    "usr/bin/passwd",
    "usr/bin/sudo",
    "usr/lib/openssh/sftp-server",
    "usr/libexec/sudo/sudoers.so",
    "usr/sbin/chpasswd",
    "usr/sbin/dropbear",
    "usr/sbin/qemu-ga",
)


def build(out: Path, cache: Path, work: Path) -> None:
    """Writes the qcow2 file; `work` is an empty folder on a disk with some 400 MB free."""
    kernel_name = kernel_package()
    with step("fetching packages"):
        kernel_file, *files = download([kernel_name, *lines(FILES / "packages.txt")], cache)
    with step("unpacking packages"):
        unpack([kernel_file], work / "kernel")
        unpack(files, work / "root")
    root = work / "root"
    version = kernel_name.removeprefix("linux-image-")
    with step("putting the root file system together"):
        _furnish(root)
        install_programs(root)
        _check_libraries(root)
        stages = _module_stages()
        depmod = [str(root / "bin/busybox"), "depmod", "-b"]
        run([*depmod, work / "kernel", version])
        dependencies = _dependencies(work / "kernel/lib/modules" / version)
        _copy_modules(work / "kernel", root, version, _closure(stages["root"] + stages["initramfs"], dependencies))
        run([*depmod, root, version])
        shutil.copy2(work / f"kernel/boot/vmlinuz-{version}", root / "boot/vmlinuz")
    with step("packing the initramfs"):
        initramfs = work / "initramfs"
        _copy_modules(work / "kernel", initramfs, version, _closure(stages["initramfs"], dependencies))
        _write_initramfs(initramfs, root / "bin/busybox", version, root / "boot/initrd")
    with step("writing the disk"):
        write_disk(root, work / "micro.raw", size_mib=SIZE_MIB, label=LABEL, uuid=str(uuid.uuid4()))
    with step("converting to qcow2"):
        convert(work / "micro.raw", out, compress=False)


def _furnish(root: Path) -> None:
    """Our own files over the packages' ones, a link for each busybox command that no package brought, and owners."""
    shutil.copytree(FILES / "root", root, dirs_exist_ok=True)
    for folder in (*FOLDERS, STATE):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "boot").mkdir(exist_ok=True)
    shutil.copy(FILES / "boot/extlinux.conf", root / "boot/extlinux.conf")
    _link_commands(root, root / "bin/busybox", run([root / "bin/busybox", "--list-full"]).split())
    (root / "sbin/init").unlink(missing_ok=True)
    (root / "sbin/init").symlink_to("/bin/busybox")
    (root / "var/run").symlink_to("/run")
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    (root / "etc/shadow").chmod(0o600)
    (root / "etc/sudoers").chmod(0o440)
    (root / "etc/resolv.conf").touch()
    shutil.rmtree(root / "usr/share/dbus-1", ignore_errors=True)
    # checked out by anybody, owned by root in the guest; dpkg-deb has set the packages' owners
    for file in (FILES / "root").rglob("*"):
        shutil.chown(root / file.relative_to(FILES / "root"), 0, 0)
    for folder in ("home/slipway", "home/slipway/.ssh"):
        shutil.chown(root / folder, 1000, 1000)
        (root / folder).chmod(0o700)


def _link_commands(root: Path, busybox: Path, commands: Iterable[str]) -> None:
    for command in commands:
        link = root / command
        link.parent.mkdir(parents=True, exist_ok=True)
        taken = any((root / folder / link.name).exists() for folder in ("bin", "sbin", "usr/bin", "usr/sbin"))
        if not taken and not link.is_symlink():
            link.symlink_to("/" + str(busybox.relative_to(root)))


def _check_libraries(root: Path) -> None:
    """Asks the guest's own loader what each program needs; BuildError names what is not there."""
    for program in PROGRAMS:
        listing = run(["chroot", root, "/lib64/ld-linux-x86-64.so.2", "--list", f"/{program}"])
        absent = re.findall(r"(\S+) => not found", listing)
        if absent:
            raise BuildError(f"{program} needs {', '.join(absent)}: add the package to guests/micro/packages.txt.")


def _module_stages() -> dict[str, list[str]]:
    stages: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines(FILES / "modules.txt"):
        if line.startswith("["):
            current = stages.setdefault(line.strip("[]"), [])
        else:
            current.append(line)
    return stages


def _dependencies(modules: Path) -> dict[str, tuple[str, list[str]]]:
    """Module name -> (its file, the files that it needs), from depmod's list."""
    found: dict[str, tuple[str, list[str]]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, needs = line.partition(":")
        found[_module_name(file)] = (file, needs.split())
    return found


def _module_name(file: str) -> str:
    return Path(file).name.removesuffix(".ko").replace("-", "_")


def _closure(names: Iterable[str], dependencies: dict[str, tuple[str, list[str]]]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        try:
            file, needs = dependencies[name.replace("-", "_")]
        except KeyError as unknown:
            raise BuildError(f"The kernel has no module {name}: correct guests/micro/modules.txt.") from unknown
        for path in (*needs, file):
            if path not in seen:
                seen.add(path)
                yield path


def _copy_modules(kernel: Path, target: Path, version: str, files: Iterable[str]) -> None:
    for file in files:
        to = target / "lib/modules" / version / file
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kernel / "lib/modules" / version / file, to)
    for index in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(kernel / "lib/modules" / version / index, target / "lib/modules" / version / index)


def _write_initramfs(tree: Path, busybox: Path, version: str, out: Path) -> None:
    """An uncompressed cpio archive: for so few files, unpacking would take the emulated CPU longer than reading."""
    for folder in ("bin", "dev", "proc", "sys", "root"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, tree / "bin/busybox")
    for command in ("sh", "mount", "modprobe", "findfs", "sleep", "printf", "dd", "blockdev", "switch_root"):
        (tree / "bin" / command).symlink_to("busybox")
    shutil.copy(FILES / "initramfs/init", tree / "init")
    run([busybox, "depmod", "-b", tree, version])
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    run([busybox, "cpio", "-o", "-H", "newc", "-F", out], stdin=names + "\n", cwd=tree)
