"""A connection that is refused, silent, lost, or inherited: never an endless wait, and well again by itself."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hypervisor.errors import Unavailable
from hypervisor.libvirt_driver import LibvirtHypervisor, connection, link
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


def openings() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "libvirt-open"]


def test_a_libvirtd_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    hypervisor = LibvirtHypervisor(f"qemu+unix:///system?socket={tmp_path}/none")
    for _ in range(2):
        with pytest.raises(Unavailable):
            hypervisor.domains("00000000")


def test_a_lost_connection_is_opened_again_F5(proxy: Proxy, hypervisor: LibvirtHypervisor) -> None:
    assert hypervisor.domains("00000000") == []
    proxy.hang_up()
    with pytest.raises(Unavailable):
        hypervisor.domains("00000000")
    proxy.open()
    assert hypervisor.domains("00000000") == []


def test_a_connection_beside_which_another_was_lost_is_not_used_again_F5(proxy: Proxy) -> None:
    """libvirt's event loop tells one connection after the other: the second would fail once more."""
    way = link.Link(proxy.uri)
    with pytest.raises(Unavailable), way.use() as first:
        raise Unavailable("heard by another connection")
    with way.use() as second:
        assert second.alive()
    assert not first.alive()
    way.close()


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
    monkeypatch.setattr(connection, "KEEPALIVE_SECONDS", 1)
    monkeypatch.setattr(connection, "KEEPALIVE_COUNT", 2)
    hypervisor.domains("00000000")
    proxy.silence()
    with pytest.raises(Unavailable):
        Bounded("silent", 1).call(lambda: hypervisor.domains("00000000"), 60)
    proxy.speak()
    assert hypervisor.domains("00000000") == []


def test_a_libvirtd_that_never_greets_is_unavailable_and_well_again_later_F11(
    proxy: Proxy, hypervisor: LibvirtHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "OPEN_TIMEOUT_SECONDS", 0.3)
    proxy.silence()
    for _ in range(link.MOST_OPENING_AT_ONCE + 2):
        with pytest.raises(Unavailable):
            hypervisor.domains("00000000")
    assert len(openings()) <= link.MOST_OPENING_AT_ONCE
    proxy.speak()
    wait_for(lambda: not openings())
    assert hypervisor.domains("00000000") == []


def test_a_forked_child_has_connections_of_its_own(proxy: Proxy, hypervisor: LibvirtHypervisor) -> None:
    hypervisor.domains("00000000")
    before = proxy.clients
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = len(hypervisor.domains("00000000"))
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    after = proxy.clients
    assert after > before
    assert hypervisor.domains("00000000") == []
    assert proxy.clients == after, "the parent had to connect anew"


def test_calls_at_once_have_connections_of_their_own_and_share_them_later(
    proxy: Proxy, hypervisor: LibvirtHypervisor
) -> None:
    for _ in range(3):
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: hypervisor.host(), range(64)))
    assert 1 <= proxy.clients <= 8
