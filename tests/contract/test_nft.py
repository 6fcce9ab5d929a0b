"""The packet filter's own library: what it is told is done whole or not at all, and said in words when it is not."""

import contextlib
import secrets
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hypervisor.errors import HypervisorError
from hypervisor.libvirt_driver import nft


@pytest.fixture
def table() -> Iterator[str]:
    name = f"slipway_test_{secrets.token_hex(4)}"
    nft.run(f"table bridge {name} {{ set guests {{ type ipv4_addr; }}; }}\n")
    yield name
    with contextlib.suppress(nft.NftRefused):
        nft.run(f"delete table bridge {name}\n")


def test_what_was_added_is_listed(table: str) -> None:
    nft.run(f"add element bridge {table} guests {{ 10.1.2.3 }}\n")
    assert "10.1.2.3" in nft.listed(f"set bridge {table} guests")


def test_of_commands_that_fail_none_is_done(table: str) -> None:
    bad = f"add element bridge {table} guests {{ 10.1.2.3 }}\nadd element bridge {table} nobody {{ 10.1.2.4 }}\n"
    with pytest.raises(nft.NftRefused, match="No such file or directory"):
        nft.run(bad)
    assert "10.1.2.3" not in nft.listed(f"set bridge {table} guests")


def test_a_dry_run_judges_and_does_nothing(table: str) -> None:
    nft.run(f"add element bridge {table} guests {{ 10.1.2.3 }}\n", dry=True)
    assert "10.1.2.3" not in nft.listed(f"set bridge {table} guests")
    with pytest.raises(nft.NftRefused, match="syntax error"):
        nft.run("add rubbish\n", dry=True)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(nft.NftRefused):
        nft.listed("set bridge slipway_test_none guests")


def test_a_host_without_the_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "_LIBRARY", "libnftables.so.none")
    nft._library.cache_clear()
    try:
        with pytest.raises(HypervisorError, match=r"libnftables\.so\.none"):
            nft.run("list tables\n")
    finally:
        nft._library.cache_clear()


def test_a_process_without_descriptors_left_is_told_and_lives_on() -> None:
    code = (
        "import resource\n"
        "from hypervisor.errors import HypervisorError\n"
        "from hypervisor.libvirt_driver import nft\n"
        "nft.listed('tables')\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 4096))\n"
        "try: nft.listed('tables')\n"
        "except HypervisorError as error: print(error)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))\n"
        "nft.listed('tables')\n"
        "print('lives')\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert said.stdout.splitlines() == ["nft: [Errno 24] Too many open files", "lives"], said.stderr
