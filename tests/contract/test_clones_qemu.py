"""Clones of a real guest: each is a machine of its own, whatever dies meanwhile, and nothing is left behind."""

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt
import pytest

from hypervisor import domain_devices
from hypervisor.domain_xml import parse_domain
from hypervisor.errors import AgentUnavailable, BadSpec, HypervisorError
from hypervisor.frozen_files import FrozenFolder
from hypervisor.libvirt_driver import ram_holders
from hypervisor.specs import DomainSpec, DomainState, NicSpec
from hypervisor.xml_text import from_text
from tests.contract.nursery import Nursery, answers, freeze, of_micro, removed_at_the_end, run
from tests.contract.rigs import Rig
from tests.contract.test_qemu import qemu_pid, raw
from tests.contract.waiting import wait_for

CLONES = 20
SCANNED = 4  # a key exchange takes an emulated guest seconds
CLOCK_SECONDS = 3
WHO_AM_I = """
head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n'; echo
hostname
cat /etc/machine-id /proc/sys/kernel/random/boot_id
cat /sys/class/net/eth0/address
ip -4 -o addr show dev eth0 | awk '{print $4}'
awk '{print $2}' /etc/ssh/ssh_host_ed25519_key.pub
date +%s
"""
KEY_FILES = [
    "/etc/dropbear:", "/etc/ssh:", "dropbear_ed25519_host_key", "ssh_host_ed25519_key", "ssh_host_ed25519_key.pub",
]  # fmt: skip
FIELDS = ("randomness", "hostname", "machine_id", "boot_id", "mac", "address", "host_key", "clock")


@pytest.fixture(scope="module")
def micro(qemu: Rig) -> Iterator[Nursery]:
    with removed_at_the_end(of_micro(qemu)) as found:
        freeze(found)
        yield found


def told(micro: Nursery, spec: DomainSpec) -> dict[str, str]:
    """What a clone says of itself, each thing on a line of its own."""
    lines = run(micro, spec.uuid, WHO_AM_I).splitlines()
    assert len(lines) == len(FIELDS), lines
    return dict(zip(FIELDS, lines, strict=True))


def named_clone(micro: Nursery, number: int) -> tuple[DomainSpec, dict[str, str]]:
    """A clone with its identity, and what it says of itself."""
    spec = micro.clone()
    identity = micro.name(spec, f"clone-{number}")
    before = time.time()
    said = told(micro, spec)
    assert before - CLOCK_SECONDS <= int(said["clock"]) <= time.time() + CLOCK_SECONDS
    assert (said["hostname"], said["machine_id"]) == (identity.hostname, identity.machine_id)
    assert (said["mac"], said["address"]) == (identity.mac, f"{identity.address}/24")
    assert said["host_key"].encode() in identity.ssh_keys[0].public
    return spec, said


@pytest.mark.timeout(900)  # at its own pace, also where others keep both cores busy
def test_twenty_clones_have_nothing_in_common(micro: Nursery) -> None:
    wait_for(lambda: time.time() - micro.frozen.frozen_at.timestamp() > 2 * CLOCK_SECONDS)
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda number: named_clone(micro, number), range(CLONES)))
    try:
        for field in set(FIELDS) - {"clock"}:
            values = [said[field] for _, said in made]
            assert len(set(values)) == CLONES, f"{field}: {values}"
        assert all(len(said["randomness"]) == 64 for _, said in made)
        for (one, _), (other, _) in itertools.combinations(made, 2):
            assert one.uuid != other.uuid
            assert one.name != other.name
        for spec, said in made[:SCANNED]:
            assert scanned_key(spec.nics[0].address) == said["host_key"]
    finally:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda clone: micro.remove(clone[0].uuid), made))


def scanned_key(address: str) -> str:
    """The host key that the guest's SSH server shows to who comes over the network."""

    def scan() -> str:
        command = ["ssh-keyscan", "-T", "10", "-t", "ed25519", address]
        words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        return words[2] if len(words) == 3 else ""

    return wait_for(scan, 60)


def test_the_descriptors_of_a_clone_that_runs_fit_into_a_table_that_it_was_born_with(micro: Nursery) -> None:
    spec, _said = named_clone(micro, 1)
    try:
        in_use = len(list(Path(f"/proc/{qemu_pid(spec.uuid)}/fd").iterdir()))
        assert in_use <= 64, "to grow the table, QEMU waits for the kernel while it resumes (RCU)"
    finally:
        micro.remove(spec.uuid)


def test_a_clone_can_be_named_again(micro: Nursery) -> None:
    spec, first = named_clone(micro, 1)
    run(
        micro,
        spec.uuid,
        "cd /etc; touch ssh/ssh_host_rsa_key ssh/ssh_host_ecdsa_key.pub dropbear/dropbear_rsa_host_key",
    )
    micro.name(spec, "another")
    second = told(micro, spec)
    assert second["hostname"] == "another"
    assert run(micro, spec.uuid, "ls /etc/ssh /etc/dropbear | sort").split() == KEY_FILES
    assert run(micro, spec.uuid, "cat /sys/class/dmi/id/product_uuid").strip() in ("", str(spec.uuid))
    assert not {first[field] for field in ("randomness", "machine_id", "boot_id", "host_key")} & set(second.values())
    micro.remove(spec.uuid)


def test_a_guest_that_can_neither_listen_nor_reseed_is_not_named(micro: Nursery) -> None:
    spec = micro.clone()
    wait_for(lambda: answers(micro, spec.uuid), 60)
    run(micro, spec.uuid, "killall slipway-identity")
    wait_for(lambda: "slipway-identity" not in run(micro, spec.uuid, "ps"))
    with pytest.raises(AgentUnavailable, match="neither Python nor Perl"):
        micro.name(spec, "by-agent")
    assert run(micro, spec.uuid, "ip -4 -o addr show dev eth0") == ""
    micro.remove(spec.uuid)


@pytest.mark.timeout(600)  # it boots
def test_a_saved_clone_needs_its_template_for_its_disk_alone(micro: Nursery) -> None:
    spec, before = named_clone(micro, 2)
    run(micro, spec.uuid, "echo kept > /run/only-in-memory; echo kept > /var/on-disk; sync")
    micro.rig.hypervisor.save(spec.uuid)
    ram_holders.end(FrozenFolder(Path(micro.folder)))
    micro.rig.hypervisor.start(spec.uuid)
    wait_for(lambda: answers(micro, spec.uuid), 60)
    assert run(micro, spec.uuid, "cat /run/only-in-memory; hostname").split() == ["kept", before["hostname"]]
    micro.rig.hypervisor.force_off(spec.uuid)
    micro.rig.hypervisor.start(spec.uuid)  # an ordinary boot
    wait_for(lambda: answers(micro, spec.uuid), 240)
    assert run(micro, spec.uuid, "cat /run/only-in-memory /var/on-disk").split() == ["kept"]
    micro.remove(spec.uuid)


def test_an_unplugged_card_is_there_and_reaches_nothing(micro: Nursery) -> None:
    planned = micro.clone_spec()
    spec = replace(planned, nics=(NicSpec("", planned.nics[0].mac, "", "", linked=False),))
    micro.rig.hypervisor.clone(spec, micro.folder, True)
    micro.rig.hypervisor.resume(spec.uuid)
    micro.name(planned, "alone")
    assert run(micro, spec.uuid, "cat /sys/class/net/eth0/carrier").strip() == "0"
    gateway = micro.rig.network_spec.gateway
    assert run(micro, spec.uuid, f"ping -c 2 -W 1 {gateway} > /dev/null 2>&1; echo $?").strip() == "1"
    tap = element_of(raw(micro.rig, spec.uuid).XMLDesc(), "devices/interface/target").get("dev", "")
    assert not Path(f"/sys/class/net/{tap}/brport").exists()
    assert Path(f"/sys/class/net/{tap}").exists()
    micro.remove(spec.uuid)


def element_of(text: str, path: str) -> Any:
    """The first element at this path of an XML text."""
    found = from_text(text).find(path)
    assert found is not None
    return found


@pytest.mark.parametrize("share_ram", [True, False])
def test_memory_is_shared_only_where_it_may_be(micro: Nursery, share_ram: bool) -> None:
    specs = [micro.clone(share_ram) for _ in range(2)]
    for spec in specs:
        wait_for(lambda spec=spec: answers(micro, spec.uuid), 60)  # type: ignore[misc]
    files = [memory_files(qemu_pid(spec.uuid)) for spec in specs]
    assert all(files)
    assert (files[0] == files[1]) is share_ram
    whole = micro.memory_mib * 2**20
    assert all(0 < (micro.rig.hypervisor.own_memory(spec.uuid) or 0) < whole for spec in specs)
    for spec in specs:
        micro.remove(spec.uuid)


def memory_files(pid: int) -> set[str]:
    """The memory files of ours that a process has mapped, by their inode numbers."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[4] for line in lines if "memfd:slipway-" in line}


def test_nobody_can_change_what_clones_read(frozen: Nursery) -> None:
    spec = frozen.clone()
    files = FrozenFolder(Path(frozen.folder))
    path = ram_holders.keep(files, 0, 0)
    descriptor = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.write(descriptor, b"poison")
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
    assert Path(f"/proc/{path.parts[2]}/environ").read_bytes() == b""
    assert Path(f"/proc/{path.parts[2]}").stat().st_uid == Path(f"/proc/{qemu_pid(spec.uuid)}").stat().st_uid
    frozen.remove(spec.uuid)


def test_a_holder_that_died_is_replaced(frozen: Nursery) -> None:
    first = frozen.clone()
    files = FrozenFolder(Path(frozen.folder))
    path = ram_holders.keep(files, 0, 0)
    os.kill(int(path.parts[2]), signal.SIGKILL)
    wait_for(lambda: not path_exists(path.parts[2]))
    second = frozen.clone()
    for spec in (first, second):
        assert frozen.facts(spec.uuid).state is DomainState.RUNNING
        frozen.remove(spec.uuid)


def test_a_holder_ends_with_its_template(tiny: Nursery) -> None:
    freeze(tiny)
    frozen_clone = tiny.clone()
    path = ram_holders.keep(FrozenFolder(Path(tiny.folder)), 0, 0)
    tiny.rig.hypervisor.remove_frozen(tiny.folder)
    wait_for(lambda: not path_exists(path.parts[2]))
    assert not Path(tiny.folder).exists()
    tiny.remove(frozen_clone.uuid)


def path_exists(pid: str) -> bool:
    """Whether there is such a process that is not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_state_that_cannot_be_loaded_says_so(tiny: Nursery) -> None:
    freeze(tiny)
    state = Path(tiny.folder / "state")
    state.write_bytes(state.read_bytes()[:1000])
    spec = tiny.clone_spec()
    with pytest.raises(HypervisorError):
        tiny.rig.hypervisor.clone(spec, tiny.folder, True)
    assert tiny.rig.hypervisor.domain(spec.uuid) is None


def test_a_kept_clones_xml_has_nothing_of_its_template(frozen: Nursery) -> None:
    spec = frozen.clone()
    text = raw(frozen.rig, spec.uuid).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    assert "incoming" not in text
    assert "memory-backend" not in text
    assert parse_domain(text).memory is None
    frozen.remove(spec.uuid)


def test_what_another_version_started_is_not_frozen_under_this_ones_name(
    tiny: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    hypervisor = tiny.rig.hypervisor
    with monkeypatch.context() as patch:
        patch.setattr(domain_devices, "SERIAL_PORTS", 31)
        spec = tiny.builder()
        hypervisor.start(spec.uuid)
    with pytest.raises(BadSpec, match="other devices"):
        hypervisor.freeze(spec.uuid, tiny.folder)
    assert hypervisor.frozen(tiny.folder) is None
    assert tiny.facts(spec.uuid).state is DomainState.RUNNING
