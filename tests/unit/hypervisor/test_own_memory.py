"""Memory that a domain's QEMU has for itself, as the kernel tells it."""

from pathlib import Path

import pytest

from hypervisor.libvirt_driver.processes import own_memory_bytes

ROLLUP = """55d0c0a00000-7ffe5d5fe000 ---p 00000000 00:00 0                          [rollup]
Rss:              260104 kB
Pss:               92000 kB
Shared_Clean:     180000 kB
Private_Dirty:     66560 kB
Anonymous:         66560 kB
Swap:                  0 kB
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "sw-1.pid").write_text("42\n")
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "smaps_rollup").write_text(ROLLUP)
    return tmp_path


def test_pages_of_a_shared_file_are_left_out(host: Path) -> None:
    assert own_memory_bytes("sw-1", host, host) == 65 * 2**20


@pytest.mark.parametrize("lost", ["sw-1.pid", "42/smaps_rollup"])
def test_nobody_who_can_be_looked_at_is_none(host: Path, lost: str) -> None:
    (host / lost).unlink()
    assert own_memory_bytes("sw-1", host, host) is None


def test_a_kernel_that_does_not_tell_is_none(host: Path) -> None:
    (host / "42" / "smaps_rollup").write_text(ROLLUP.replace("Anonymous:", "Something:"))
    assert own_memory_bytes("sw-1", host, host) is None
