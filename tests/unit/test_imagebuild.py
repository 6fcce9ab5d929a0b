"""The parts of `guests/build` that can be wrong without a boot showing it."""

import struct
from pathlib import Path

import pytest

from guests.imagebuild import cli, disk, micro, packages
from guests.imagebuild.steps import BuildError, run

pytestmark = pytest.mark.unit

MAIN = "http://mirror.test/debian/|bookworm|main|/usr/share/keyrings/debian.gpg|Debian"
SECURITY = "http://mirror.test/security/|bookworm-security|main|$(SIGNED_BY)|Debian"
OTHERS = [
    "http://mirror.test/debian/|bookworm-backports|main|$(SIGNED_BY)|Debian Backports",
    "http://packages.test/tool/|bookworm|main|$(SIGNED_BY)|Tool Makers",
    "http://mirror.test/debian/|trixie|main|$(SIGNED_BY)|Debian",
]


def answer_with(monkeypatch, *lines):
    monkeypatch.setattr(packages, "run", lambda *_words, **_options: "\n".join(lines) + "\n")


def test_the_partition_is_active_and_reaches_the_end_of_the_disk(tmp_path, monkeypatch):
    boot_code = tmp_path / "mbr.bin"
    boot_code.write_bytes(b"code" * 120)  # 480 bytes: more than fits before the table
    monkeypatch.setattr(disk, "MBR", boot_code)
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(1024))
    disk._write_first_sector(raw, size_mib=512)
    sector = raw.read_bytes()[:512]
    status, kind, start, length = struct.unpack("<B3xB3xII", sector[446:462])
    assert (status, kind, start) == (0x80, 0x83, disk.PARTITION_START_SECTORS)
    assert (start + length) * disk.SECTOR_BYTES == 512 * disk.MIB
    assert sector[:440] == b"code" * 110
    assert sector[462:] == bytes(48) + b"\x55\xaa"
    assert raw.stat().st_size == 1024


def test_a_missing_boot_loader_says_which_package_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "MBR", tmp_path / "absent")
    with pytest.raises(BuildError, match="install the package extlinux"):
        disk._write_first_sector(tmp_path / "raw", size_mib=64)


def test_only_debian_12_itself_becomes_a_source_of_the_guest(monkeypatch):
    answer_with(monkeypatch, MAIN, *OTHERS, MAIN.replace("|main|", "|contrib|"), SECURITY)
    assert [source.line() for source in packages.debian_sources()] == [
        "deb [signed-by=/usr/share/keyrings/debian.gpg] http://mirror.test/debian/ bookworm contrib main",
        "deb http://mirror.test/security/ bookworm-security main",
    ]


@pytest.mark.parametrize("lines", [[SECURITY], OTHERS])
def test_a_machine_without_debian_12_is_told_what_to_do(monkeypatch, lines):
    answer_with(monkeypatch, *lines)
    with pytest.raises(BuildError, match="apt-get update"):
        packages.debian_sources()


def test_the_kernel_is_the_one_that_its_metapackage_names(monkeypatch):
    answer_with(monkeypatch, packages.KERNEL_META, "  Depends: linux-image-6.1.0-1-cloud-amd64")
    assert packages.kernel_package() == "linux-image-6.1.0-1-cloud-amd64"


def test_modules_come_once_and_after_what_they_need(tmp_path):
    (tmp_path / "modules.dep").write_text(
        "kernel/a/virtio-rng.ko: kernel/v/virtio.ko\n"
        "kernel/b/virtio_net.ko: kernel/n/failover.ko kernel/v/virtio.ko\n"
        "kernel/v/virtio.ko:\n"
        "kernel/n/failover.ko:\n"
    )
    dependencies = micro._dependencies(tmp_path)
    assert list(micro._closure(["virtio_rng", "virtio_net"], dependencies)) == [
        "kernel/v/virtio.ko",
        "kernel/a/virtio-rng.ko",
        "kernel/n/failover.ko",
        "kernel/b/virtio_net.ko",
    ]
    with pytest.raises(BuildError, match="no module absent"):
        list(micro._closure(["absent"], dependencies))


def test_a_changed_file_or_mode_asks_for_a_new_image(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "GUESTS", tmp_path)
    file = tmp_path / "boot"
    file.write_text("one")
    before = cli._inputs("micro")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/x.pyc").write_text("compiled")
    (tmp_path / "debian-12").mkdir()
    (tmp_path / "debian-12/packages.txt").write_text("another image's")
    assert cli._inputs("micro") == before
    assert cli._inputs("debian-12") != before
    file.chmod(0o755)
    runnable = cli._inputs("micro")
    file.write_text("two")
    assert len({before, runnable, cli._inputs("micro")}) == 3


def test_a_failed_command_shows_its_last_words():
    with pytest.raises(BuildError, match="failed with 3:\nno room"):
        run(["sh", "-c", "echo no room >&2; exit 3"])
    with pytest.raises(BuildError, match="not installed"):
        run([Path("/absent/tool")])
