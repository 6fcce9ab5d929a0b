"""What comes out of a guest: agent, screen, display."""

import io
import os

import pytest
from PIL import Image

from hypervisor.errors import AgentUnavailable, WrongState
from tests.contract.rigs import Rig


def test_an_agent_of_a_domain_that_is_off_is_unavailable(rig: Rig) -> None:
    spec = rig.make()
    with pytest.raises(AgentUnavailable):
        rig.hypervisor.agent(spec.uuid, "guest-ping")


def test_a_guest_without_an_agent_is_unavailable(rig: Rig) -> None:
    spec = rig.make()
    rig.hypervisor.start(spec.uuid)
    if rig.name == "fake":
        rig.hypervisor.set_mute(spec.uuid)  # type: ignore[attr-defined]
    with rig.can("agent"), pytest.raises(AgentUnavailable):
        rig.hypervisor.agent(spec.uuid, "guest-ping", timeout_seconds=1)


def test_a_screenshot_is_a_png_of_the_display(rig: Rig) -> None:
    spec = rig.make()
    with pytest.raises(WrongState):
        rig.hypervisor.screenshot(spec.uuid)
    rig.hypervisor.start(spec.uuid)
    with Image.open(io.BytesIO(rig.hypervisor.screenshot(spec.uuid))) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 320


def test_the_display_is_a_descriptor_that_speaks_rfb(rig: Rig) -> None:
    spec = rig.make()
    with pytest.raises(WrongState):
        rig.hypervisor.open_graphics(spec.uuid)
    rig.hypervisor.start(spec.uuid)
    with rig.can("open_graphics"):
        descriptor = rig.hypervisor.open_graphics(spec.uuid)
        try:
            assert os.read(descriptor, 12) == b"RFB 003.008\n"
        finally:
            os.close(descriptor)


def test_the_host_tells_of_itself(rig: Rig) -> None:
    host = rig.hypervisor.host()
    assert host.vcpus >= 1
    assert host.memory_mib >= host.memory_free_mib > 0
    assert host.virt_types
    assert host.hostname
    assert host.hypervisor_version
