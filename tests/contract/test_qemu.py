"""What only a real QEMU can show: a panic, a death, a hang, and what QEMU may and may not reach."""

import os
import signal
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import libvirt
import pytest

from hypervisor.errors import BadSpec, FileMissing, WrongState
from hypervisor.libvirt_driver import domains, records, validating
from hypervisor.libvirt_driver.bounded import Bounded
from hypervisor.specs import DomainFacts, DomainSpec, DomainState, OwnerTag
from tests.contract.rigs import PANIC, Rig
from tests.contract.waiting import wait_for


def qemu_pid(uuid: UUID) -> int:
    """The process that runs this domain."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"qemu-system" in command[0] and str(uuid).encode() in command:
            return int(folder.name)
    raise AssertionError("no QEMU")


def facts(rig: Rig, uuid: UUID) -> DomainFacts:
    found = rig.hypervisor.domain(uuid)
    assert found is not None
    return found


def raw(rig: Rig, uuid: UUID) -> libvirt.virDomain:
    """The domain for somebody with virsh."""
    return rig.hypervisor._lookup(uuid)  # type: ignore[attr-defined]


def test_a_panic_is_seen_and_nothing_restarts_by_itself_F7(qemu: Rig) -> None:
    spec = qemu.make(boot_sector=PANIC)
    qemu.hypervisor.start(spec.uuid)
    wait_for(lambda: facts(qemu, spec.uuid).state is DomainState.CRASHED)
    seen = facts(qemu, spec.uuid)
    assert (seen.reason, seen.active) == ("panicked", True)
    assert qemu.hypervisor.screenshot(spec.uuid).startswith(b"\x89PNG")
    for verb in ("resume", "pause", "shutdown", "reboot", "reset", "undefine"):
        with pytest.raises(WrongState):
            getattr(qemu.hypervisor, verb)(spec.uuid)
    before = qemu_pid(spec.uuid)
    qemu.hypervisor.start(spec.uuid)
    assert qemu_pid(spec.uuid) != before
    wait_for(lambda: facts(qemu, spec.uuid).state is DomainState.CRASHED)
    qemu.hypervisor.force_off(spec.uuid)
    assert facts(qemu, spec.uuid).state is DomainState.STOPPED


def test_a_killed_qemu_is_a_domain_that_stopped_F6(qemu: Rig) -> None:
    spec = qemu.make()
    qemu.hypervisor.start(spec.uuid)
    os.kill(qemu_pid(spec.uuid), signal.SIGKILL)
    wait_for(lambda: facts(qemu, spec.uuid).state is DomainState.STOPPED)
    assert facts(qemu, spec.uuid).reason == "crashed"


def test_a_qemu_that_hangs_holds_up_no_listing_F11(qemu: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_sampled() -> bool:
        return all(found.cpu_time_ns for found in qemu.hypervisor.domains(qemu.installation_id) if found.active)

    hanging, other = qemu.make(), qemu.make()
    for spec in (hanging, other):
        qemu.hypervisor.start(spec.uuid)
    wait_for(all_sampled)
    monkeypatch.setattr(domains, "_STATS_TIMEOUT_SECONDS", 1)
    pid = qemu_pid(hanging.uuid)
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            # it returns at all, and QEMU hangs still
            found = Bounded("listing", 2).call(lambda: qemu.hypervisor.domains(qemu.installation_id), 90)
            listed = {facts.uuid: facts.state for facts in found}
            assert listed[hanging.uuid] is listed[other.uuid] is DomainState.RUNNING
        assert facts(qemu, hanging.uuid).memory_mib == 64
    finally:
        os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    wait_for(all_sampled)


def test_a_domain_that_goes_while_all_are_listed_is_left_out(qemu: Rig) -> None:
    gone, stays = qemu.make(), qemu.make()
    listed = [raw(qemu, spec.uuid) for spec in (gone, stays)]
    qemu.hypervisor.undefine(gone.uuid)
    listing = SimpleNamespace(listAllDomains=lambda _flags: listed)
    assert [uuid for uuid, _, _ in records.plain(listing)] == [stays.uuid]


def test_a_base_image_stays_roots_while_a_domain_runs_on_it(qemu: Rig) -> None:
    spec = qemu.make()
    qemu.hypervisor.start(spec.uuid)
    base, disk = Path(qemu.base()).stat(), Path(spec.disks[0].path).stat()
    assert base.st_uid == 0
    assert disk.st_uid != 0
    qemu.hypervisor.force_off(spec.uuid)
    after = Path(spec.disks[0].path).stat()
    assert (after.st_uid, stat.S_IMODE(after.st_mode)) == (0, 0o600)


def test_a_new_volume_can_discard(qemu: Rig) -> None:
    spec = qemu.volume_spec(uuid4())
    made = qemu.hypervisor.ensure_volume(spec)
    header = Path(made.path).read_bytes()[:8]
    assert header == b"QFI\xfb\x00\x00\x00\x03"  # version 3 has clusters that read as zeroes


def test_the_only_ways_in_are_unix_sockets(qemu: Rig) -> None:
    spec = qemu.make()
    qemu.hypervisor.start(spec.uuid)
    pid = qemu_pid(spec.uuid)
    listening = subprocess.run(["ss", "-Hltunp"], capture_output=True, text=True, check=True).stdout
    assert f"pid={pid}," not in listening
    socket = Path(spec.serial_socket).stat()
    assert stat.S_ISSOCK(socket.st_mode)
    assert not socket.st_mode & stat.S_IWOTH


def test_a_renamed_domain_is_found_by_its_uuid_and_healed_F17(qemu: Rig) -> None:
    spec = qemu.make()
    raw(qemu, spec.uuid).rename(f"renamed-{spec.uuid}", 0)
    assert facts(qemu, spec.uuid).owner == spec.owner
    assert spec.uuid in {found.uuid for found in qemu.hypervisor.domains(qemu.installation_id)}
    qemu.hypervisor.define(spec)
    assert facts(qemu, spec.uuid).name == spec.name


def attached(qemu: Rig, spec: DomainSpec) -> list[str]:
    disks = {disk.path for disk in spec.disks} | ({spec.seed_path} if spec.seed_path else set())
    return qemu.hypervisor.foreign_devices(spec.uuid, disks, {nic.mac for nic in spec.nics})


def test_a_disk_that_somebody_plugs_in_is_seen_while_it_runs_F17(qemu: Rig) -> None:
    spec, other = qemu.make(), qemu.hypervisor.ensure_volume(qemu.volume_spec(uuid4()))
    qemu.hypervisor.start(spec.uuid)
    assert attached(qemu, spec) == []
    disk = (
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{other.path}'/>"
        "<backingStore/><target dev='vdq' bus='virtio'/></disk>"
    )
    raw(qemu, spec.uuid).attachDeviceFlags(disk, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert attached(qemu, spec) == [f"disk {other.path}"]
    qemu.hypervisor.force_off(spec.uuid)
    assert attached(qemu, spec) == []


def test_a_foreign_device_is_seen_and_removed_F17(qemu: Rig) -> None:
    spec = qemu.make()
    text = raw(qemu, spec.uuid).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    foreign = "<filesystem type='mount'><source dir='/'/><target dir='host'/></filesystem></devices>"
    qemu.hypervisor._conn.defineXML(text.replace("</devices>", foreign))  # type: ignore[attr-defined]
    assert "filesystem" in raw(qemu, spec.uuid).XMLDesc()
    assert attached(qemu, spec) == ["filesystem"]
    qemu.hypervisor.define(spec)
    assert attached(qemu, spec) == []
    assert "filesystem" not in raw(qemu, spec.uuid).XMLDesc()


def test_another_owner_behind_our_back_is_noticed(qemu: Rig) -> None:
    spec = qemu.make()
    ours = {found.uuid for found in qemu.hypervisor.domains(qemu.installation_id)}
    assert spec.uuid in ours
    tag = raw(qemu, spec.uuid).metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, "https://slipway.dev/xmlns/domain/1")
    stranger = tag.replace(qemu.installation_id, "00000000")
    raw(qemu, spec.uuid).setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT, stranger, "slipway", "https://slipway.dev/xmlns/domain/1", 0
    )
    wait_for(lambda: spec.uuid not in {found.uuid for found in qemu.hypervisor.domains(qemu.installation_id)})
    assert facts(qemu, spec.uuid).owner == OwnerTag("00000000", spec.owner.vm_id)


def test_a_transient_domain_says_so(qemu: Rig) -> None:
    spec = qemu.make()
    qemu.hypervisor.start(spec.uuid)
    raw(qemu, spec.uuid).undefine()
    assert facts(qemu, spec.uuid).persistent is False
    listed = {found.uuid: found.persistent for found in qemu.hypervisor.domains(qemu.installation_id)}
    assert listed[spec.uuid] is False


def test_a_saved_domain_is_suspended_and_starts_where_it_was(qemu: Rig) -> None:
    spec = qemu.make()
    qemu.hypervisor.start(spec.uuid)
    raw(qemu, spec.uuid).managedSave(0)
    found = facts(qemu, spec.uuid)
    assert (found.state, found.active) == (DomainState.SUSPENDED, False)
    assert qemu.hypervisor.state(spec.uuid) is DomainState.SUSPENDED
    listed = {facts.uuid: facts.state for facts in qemu.hypervisor.domains(qemu.installation_id)}
    assert listed[spec.uuid] is DomainState.SUSPENDED
    qemu.hypervisor.start(spec.uuid)
    assert facts(qemu, spec.uuid).state is DomainState.RUNNING


@pytest.mark.parametrize("schema", ["there", "absent", "cut off"])
def test_what_libvirts_schema_does_not_know_is_refused_and_leaves_nothing(
    qemu: Rig, monkeypatch: pytest.MonkeyPatch, schema: str, tmp_path: Path
) -> None:
    really = domains.build_domain
    monkeypatch.setattr(domains, "build_domain", lambda spec: really(spec).replace("<devices>", "<devices><bogus/>"))
    if schema != "there":
        monkeypatch.setattr(validating, "SCHEMA", tmp_path / "domain.rng")
    if schema == "cut off":
        (tmp_path / "domain.rng").write_text("<grammar xmlns='http://relaxng.org/ns/structure/1.0'><start>")
    validating._schema.cache_clear()
    spec = qemu.domain_spec()
    ours = "the XML is not as libvirt's schema says"  # where it is not ours, libvirt complains in its own words
    try:
        with pytest.raises(BadSpec, match="Extra element devices") as refused:
            qemu.hypervisor.define(spec)
    finally:
        validating._schema.cache_clear()
    assert (ours in str(refused.value)) is (schema == "there")
    assert qemu.hypervisor.domain(spec.uuid) is None


def test_what_libvirt_would_change_is_refused_and_leaves_nothing(qemu: Rig) -> None:
    spec = replace(qemu.domain_spec(), machine="no-such-machine")
    with pytest.raises(BadSpec):
        qemu.hypervisor.define(spec)
    assert qemu.hypervisor.domain(spec.uuid) is None


def test_a_deleted_file_is_a_volume_that_is_gone_F18(qemu: Rig) -> None:
    spec = qemu.volume_spec(uuid4())
    made = qemu.hypervisor.ensure_volume(spec)
    Path(made.path).unlink()
    assert qemu.hypervisor.volume(qemu.pool, spec.name) is None
    assert spec.name not in {found.name for found in qemu.hypervisor.volumes(qemu.pool)}
    qemu.hypervisor.remove_volume(qemu.pool, spec.name)


@pytest.mark.parametrize("length", [0, 100, 100_000])
def test_a_truncated_file_holds_no_disk_any_more_F18(qemu: Rig, length: int) -> None:
    spec = qemu.volume_spec(uuid4())
    made = qemu.hypervisor.ensure_volume(spec)
    assert made.holds(spec.size_bytes)
    assert all(facts.whole for facts in qemu.hypervisor.volumes(qemu.pool))
    os.truncate(made.path, length)
    [listed] = [facts for facts in qemu.hypervisor.volumes(qemu.pool) if facts.name == spec.name]
    assert not listed.holds(spec.size_bytes)
    qemu.hypervisor.remove_volume(qemu.pool, spec.name)
    assert qemu.hypervisor.volume(qemu.pool, spec.name) is None


def test_a_missing_image_is_said_to_be_missing(qemu: Rig) -> None:
    spec, volume = qemu.make(), qemu.volume_spec(uuid4())
    base = Path(qemu.base())
    away = base.rename(base.with_suffix(".away"))
    try:
        with pytest.raises(FileMissing, match=base.name):
            qemu.hypervisor.start(spec.uuid)
        with pytest.raises(FileMissing, match=base.name):
            qemu.hypervisor.ensure_volume(volume)
        assert qemu.hypervisor.volume(qemu.pool, volume.name) is None
    finally:
        away.rename(base)
    qemu.hypervisor.start(spec.uuid)
    assert facts(qemu, spec.uuid).state is DomainState.RUNNING
