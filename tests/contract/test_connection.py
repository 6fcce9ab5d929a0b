"""A connection that is refused, silent, lost, or inherited: never an endless wait, and well again by itself."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypervisor.errors import Unavailable
from hypervisor.libvirt_driver import LibvirtHypervisor, link
from hypervisor.libvirt_driver.bounded import Bounded, TooSlow
from tests.contract.proxy import Proxy
from tests.contract.waiting import wait_for


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    found = Proxy(tmp_path / "libvirt-sock")
    yield found
    found.hang_up()


@pytest.fixture
def hypervisor(proxy: Proxy) -> Iterator[LibvirtHypervisor]:
    found = LibvirtHypervisor(proxy.uri)
    yield found
    proxy.speak()
    found.close()


def test_a_libvirtd_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    hypervisor = LibvirtHypervisor(f"qemu+unix:///system?socket={tmp_path}/none")
    for _ in range(2):
        with pytest.raises(Unavailable):
            hypervisor.domains("00000000")


def test_a_lost_connection_is_opened_again_F5(proxy: Proxy, hypervisor: LibvirtHypervisor) -> None:
    assert hypervisor.domains("00000000") == []
    proxy.hang_up()
    wait_for(lambda: not hypervisor._link.is_alive())
    with pytest.raises(Unavailable):
        hypervisor.domains("00000000")
    proxy.open()
    assert hypervisor.domains("00000000") == []


def test_a_call_under_way_on_a_lost_connection_is_unavailable_F5(proxy: Proxy, hypervisor: LibvirtHypervisor) -> None:
    hypervisor.domains("00000000")
    proxy.silence()
    hanging = Bounded("test", 1)
    with pytest.raises(TooSlow):
        hanging.call(lambda: hypervisor.domains("00000000"), 0.2)
    errors: list[Exception] = []

    def call() -> None:
        try:
            hypervisor.domains("00000000")
        except Unavailable as error:
            errors.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    proxy.hang_up()
    caller.join(10)
    assert errors


def test_a_silent_libvirtd_is_given_up_by_keepalive_F11(
    proxy: Proxy, hypervisor: LibvirtHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "KEEPALIVE_SECONDS", 1)
    monkeypatch.setattr(link, "KEEPALIVE_COUNT", 2)
    hypervisor.domains("00000000")
    proxy.silence()
    before = time.monotonic()
    with pytest.raises(Unavailable):
        hypervisor.domains("00000000")
    assert time.monotonic() - before < 30
    proxy.speak()
    assert hypervisor.domains("00000000") == []


def test_a_libvirtd_that_never_greets_is_unavailable_and_well_again_later_F11(
    proxy: Proxy, hypervisor: LibvirtHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "OPEN_TIMEOUT_SECONDS", 0.3)
    proxy.silence()
    before = threading.active_count()
    for _ in range(5):
        with pytest.raises(Unavailable):
            hypervisor.domains("00000000")
    opening = [thread for thread in threading.enumerate() if thread.name == "libvirt-open"]
    assert len(opening) == 1, "each call started an attempt of its own"
    assert threading.active_count() <= before + 6  # the proxy's own pumps among them
    proxy.speak()
    wait_for(lambda: not opening[0].is_alive())
    assert hypervisor.domains("00000000") == []


def test_a_forked_child_has_a_connection_of_its_own(proxy: Proxy, hypervisor: LibvirtHypervisor) -> None:
    hypervisor.domains("00000000")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = len(hypervisor.domains("00000000"))
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(proxy._pairs) == 2
    assert hypervisor.domains("00000000") == []
    assert len(proxy._pairs) == 2, "the parent had to connect anew"
