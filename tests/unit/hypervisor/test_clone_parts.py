"""The parts of cloning that need no hypervisor: identity, files, XML of what was saved, rules of the packet filter."""

import errno
import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from hypervisor.clone_shape import misfits, shape_of
from hypervisor.domain_memory import Ram, forget_file
from hypervisor.domain_xml import build_clone
from hypervisor.errors import AgentUnavailable, BadSpec, NoSpace
from hypervisor.frozen_files import FrozenFolder
from hypervisor.identity import NO_RESEED, check_identity, new_identity, request, reseeding, script
from hypervisor.libvirt_driver import identifying
from hypervisor.nft_rules import build_removal, build_table
from hypervisor.specs import BridgeRule, FirewallSpec, HostKey, Identity
from hypervisor.xml_text import from_text, to_text
from tests.unit.hypervisor.goldens import BUILDER, CLONE, FIREWALL, FOLDER, PLAIN

MACHINE = UUID("7be1c9a0-0000-4000-8000-000000000001")


def identity() -> Identity:
    return new_identity("52:54:00:12:34:56", "10.71.0.9", 20, "10.71.0.1", "quiet-otter")


def test_random_numbers_come_first_and_the_address_last() -> None:
    given = identity()
    lines = request(given, MACHINE, 1_700_000_000.25, "word").decode().splitlines()
    assert [line.partition("=")[0] for line in lines] == [
        "seed", "forget_keys", "ssh_key", "machine_id", "hostname", "clock", "boot_id", "uuid", "net", "ack", "end",
    ]  # fmt: skip
    assert lines[0] == f"seed={given.seed.hex()}"
    assert lines[5] == "clock=1700000000.250000000"
    assert lines[7] == f"uuid={MACHINE}"
    assert lines[8] == "net=52:54:00:12:34:56 10.71.0.9/20 10.71.0.1"
    assert lines[-1] == "end=word"


def test_keys_are_kept_where_no_others_are_given() -> None:
    assert "key" not in request(replace(identity(), ssh_keys=()), MACHINE, 0, "w").decode()
    assert "/etc/ssh" not in script(replace(identity(), ssh_keys=()), MACHINE, 0)


def test_a_clone_without_a_way_out_has_no_gateway_and_without_a_card_no_address() -> None:
    alone = request(replace(identity(), gateway=""), MACHINE, 0, "w").decode()
    assert "net=52:54:00:12:34:56 10.71.0.9/20 0.0.0.0\n" in alone
    assert "net=" not in request(replace(identity(), mac=""), MACHINE, 0, "w").decode()


def test_two_identities_share_nothing() -> None:
    one, other = identity(), identity()
    assert len({one.seed, other.seed, one.machine_id, other.machine_id}) == 4
    assert one.ssh_keys[0].private != other.ssh_keys[0].private


def test_a_host_key_is_one_pair() -> None:
    key = identity().ssh_keys[0]
    private = load_ssh_private_key(key.private, None)
    public = load_ssh_public_key(key.public)
    assert private.public_key() == public  # type: ignore[comparison-overlap]
    assert key.public.endswith(b" quiet-otter\n")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": b"x" * 63}, {"seed": b"x" * 513}, {"hostname": ""}, {"hostname": "-a"}, {"hostname": "a" * 64},
        {"hostname": "a\nack=1"}, {"mac": "52:54:00:12:34:5g"}, {"address": "10.71.0.9/8"}, {"prefix_length": 33},
        {"gateway": "x"}, {"machine_id": "a" * 31}, {"machine_id": "A" * 32},
        {"ssh_keys": (HostKey("../x", b"", b""),)}, {"ssh_keys": (HostKey("rsa", b"x" * 8193, b""),)},
    ],
)  # fmt: skip
def test_what_is_no_identity_is_refused(change: dict[str, object]) -> None:
    check_identity(identity())
    with pytest.raises(BadSpec):
        check_identity(replace(identity(), **change))  # type: ignore[arg-type]


def test_secrets_do_not_show() -> None:
    given = identity()
    assert given.seed.hex() not in repr(given)
    assert repr(given.seed) not in repr(given)
    assert "PRIVATE KEY" not in repr(given)


def test_the_script_is_one_that_a_shell_can_read() -> None:
    text = script(identity(), MACHINE, 0)
    checked = subprocess.run(["/bin/sh", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert text.index("/dev/urandom") < text.index("/etc/ssh/ssh_host_*") < text.index("ip address add")


NO_PYTHON, NO_PERL = "python3() { return 1; }\n", "perl() { return 1; }\n"


@pytest.mark.parametrize(
    ("lacking", "code"), [(NO_PYTHON, 0), (NO_PERL, 0), (NO_PYTHON + NO_PERL, NO_RESEED)],
    ids=["perl", "python", "neither"],
)  # fmt: skip
def test_a_guest_reseeds_by_python_or_perl_or_says_that_it_cannot(lacking: str, code: int) -> None:
    text = f"{lacking}{reseeding(identity().seed)}"
    done = subprocess.run(["/bin/sh"], input=text, text=True, check=False)
    assert done.returncode == (code if os.geteuid() == 0 else NO_RESEED)  # the kernel listens to root alone


def test_an_answer_with_an_error_is_a_refusal_unless_it_may_be_missing() -> None:
    identifying._check(bytearray(b"error boot_id: Function not implemented\nack w\nend w\n"))
    with pytest.raises(AgentUnavailable, match="net"):
        identifying._check(bytearray(b"error net: No such device\nack w\nend w\n"))


def test_a_clone_fits_its_template_alone() -> None:
    shape = shape_of(BUILDER)
    assert misfits(CLONE, shape) == []
    assert misfits(PLAIN, shape) == ["identity False instead of True", "run False instead of True"]
    assert misfits(BUILDER, shape) == ["memory of its own file"]


def test_what_was_saved_forgets_its_template_once() -> None:
    root = from_text(build_clone(CLONE, Ram(PurePosixPath("/proc/1/fd/3"))))
    assert forget_file(root) is True
    text = to_text(root)
    assert "/proc/" not in text
    assert "-incoming" not in text
    assert '"memory-backend-ram"' in text.replace("&quot;", '"')
    assert forget_file(root) is False


def test_the_firewall_is_its_golden() -> None:
    assert build_table(FIREWALL) == (FOLDER / "firewall.nft").read_text()


@pytest.mark.parametrize(
    "spec",
    [
        FirewallSpec("x; flush ruleset", ()),
        FirewallSpec("slipway_x", (BridgeRule('br" accept', ""),)),
        FirewallSpec("slipway_x", (BridgeRule("br0", "10.0.0.1, 0.0.0.0/0"),)),
        FirewallSpec("slipway_x", (BridgeRule("br0", "10.0.0.1", subnet="10.0.0.0/8 accept"),)),
    ],
)
def test_what_is_no_name_never_reaches_the_packet_filter(spec: FirewallSpec) -> None:
    with pytest.raises(BadSpec):
        build_table(spec)
    with pytest.raises(BadSpec):
        build_removal("a b")


def test_a_folder_is_frozen_when_its_manifest_is_there_and_whole(tmp_path: Path) -> None:
    folder = FrozenFolder(tmp_path / "t")
    assert folder.read() is None
    folder.make_ram(1, os.getuid(), os.getgid())
    assert folder.ram.stat().st_size == 2**20
    folder.ram.write_bytes(b"x" * 4096 + bytes(2**20 - 4096))
    folder.new_state.write_bytes(b"state")
    folder.keep_state()
    (tmp_path / "disk").write_bytes(b"disk")
    folder.keep_disk(tmp_path / "disk")
    folder.keep_disk(tmp_path / "disk")  # as after a kill
    folder.keep_ram()
    assert folder.read() is None
    shape = shape_of(replace(BUILDER, memory_mib=1))
    folder.write("qemu 1", shape, (PurePosixPath("/x"),))
    found = folder.read()
    assert found is not None
    assert found[1] == shape
    assert found[0].ram_bytes < 2**20  # holes take no room
    assert (found[0].fingerprint, found[0].disk_below) == ("qemu 1", (PurePosixPath("/x"),))
    assert found[0].frozen_at <= datetime.now(UTC)
    folder.ram.write_bytes(b"short")
    assert folder.read() is None
    folder.remove()
    folder.remove()
    assert not folder.path.exists()


class Killed(BaseException):
    """Passes through everything, as SIGKILL would."""


@pytest.mark.parametrize("end", [Killed(), OSError(errno.ENOSPC, "full")], ids=["killed", "full"])
def test_memory_that_is_half_made_does_not_look_whole(
    tmp_path: Path, end: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FrozenFolder(tmp_path / "t")

    def fail(*_arguments: object) -> None:
        raise end

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", fail)
        with pytest.raises((Killed, NoSpace)):
            folder.make_ram(1, os.getuid(), os.getgid())
    assert not folder.ram.exists()
    folder.make_ram(1, os.getuid(), os.getgid())
    assert [path.name for path in folder.path.iterdir()] == ["ram"]
    assert folder.ram.stat().st_size == 2**20


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 1}', '{"format": 2, "shape": {}}', "{" * 5000])
def test_a_manifest_that_is_none_is_nothing_frozen(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    assert FrozenFolder(tmp_path).read() is None
