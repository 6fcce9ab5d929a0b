"""The yardstick of bench/sandbox.py: the same clone made by a plain libvirt-python script.

The script takes over the definition of a sandbox that Slipway made (its RAM, its hardware), so that both wake up the
same guest, and where it is compared with Slipway's it is as much of a clone: defined, and let through by the packet
filter. What it does not do is what a portal is for: no rows, no lease, no steps that can be taken up again.
"""

import contextlib
import json
import os
import secrets
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu
from lxml import etree

from hypervisor.identity import new_host_key
from hypervisor.nft_guard import build_admission, build_dismissal, tap_name

from ._guest import POLL_SECONDS, connected, first_output


@dataclass
class Clone:
    """A clone of the script's: its files, and the seconds that each phase took."""

    uuid: uuid.UUID
    folder: Path
    card: tuple[str, str, str]  # network, MAC, address
    domain: Any = None
    kept: bool = False
    times: dict[str, float] = field(default_factory=dict)

    @property
    def disk(self) -> Path:
        return self.folder / f"{self.uuid}.qcow2"

    def socket_of(self, channel: str) -> str:
        return str(self.folder / f"{self.uuid}.{channel}")


class BareCloner:
    """`model` is the live XML of a sandbox and `kept` its definition, `frozen` the folder that it was cloned from."""

    def __init__(self, connection: libvirt.virConnect, model: str, kept: str, frozen: Path, network: "Wire") -> None:
        self.connection, self.frozen, self.network = connection, frozen, network
        self.model, self.kept = etree.fromstring(model.encode()), etree.fromstring(kept.encode())
        self.folder = frozen.parent.parent / f"bench-{os.getpid()}"
        self.folder.mkdir(mode=0o711, exist_ok=True)
        self.folder.chmod(0o711)
        self.number = 0

    def close(self) -> None:
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()

    def clone(self) -> Clone:
        """Overlay, paused domain, device state: a clone that waits."""
        clone = Clone(uuid.uuid4(), self.folder, self._next_card())
        with phase(clone.times, "overlay"):
            base = str(self.frozen / "disk.qcow2")
            command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, str(clone.disk)]
            subprocess.run(command, check=True)
            clone.disk.chmod(0o666)
        with phase(clone.times, "create"):
            definition = self._definition(self.model, clone)
            clone.domain = self.connection.createXML(definition, libvirt.VIR_DOMAIN_START_PAUSED)
        with phase(clone.times, "incoming"):
            _load(clone.domain, self.frozen / "state")
        return clone

    def keep(self, clone: Clone) -> None:
        """What makes it the same clone as Slipway's: it outlives its QEMU, and may send from its address."""
        clone.kept = True
        with phase(clone.times, "define"):
            self.connection.defineXML(self._definition(self.kept, clone))
        with phase(clone.times, "admit"):
            _nft(build_admission(*clone.card))

    def wake(self, clone: Clone, until: str = "ack") -> None:
        """Resume, and give it an identity of its own; ends when the guest has acknowledged it."""
        with phase(clone.times, "resume"):
            clone.domain.resume()
        with phase(clone.times, "identity"):
            self.number += 1
            self._identify(clone, until)

    def run(self, clone: Clone, command: str) -> bytes:
        """Run a shell command; return the first bytes of its output."""
        with phase(clone.times, "run"):
            return first_output(clone.socket_of("run"), command)

    def remove(self, clone: Clone) -> None:
        clone.domain.destroy()
        if clone.kept:
            clone.domain.undefine()
            _nft(build_dismissal(*clone.card))
        for file in self.folder.glob(f"{clone.uuid}.*"):
            file.unlink()

    def _identify(self, clone: Clone, until: str) -> None:
        word = secrets.token_hex(8)
        address = self.network.address(self.number)
        key = new_host_key("bench")
        lines = [
            f"seed={os.urandom(64).hex()}",
            "forget_keys=all",
            f"ssh_key={key.kind} {key.private.hex()} {key.public.hex()}",
            f"machine_id={uuid.uuid4().hex}",
            f"hostname=bench{self.number}",
            f"clock={time.time():.9f}",
            f"boot_id={uuid.uuid4()}",
            f"uuid={clone.uuid}",
            f"net={self.network.mac(self.number)} {address}/{self.network.prefix} {self.network.gateway}",
            f"ack={word}",
            f"end={word}",
        ]
        with connected(clone.socket_of("identity")) as channel:
            channel.sendall("".join(f"{line}\n" for line in lines).encode())
            answer = b""
            while f"{until} {word}\n".encode() not in answer:
                part = channel.recv(4096)
                assert part, f"the listener said {answer!r} and hung up"
                answer += part

    def _next_card(self) -> tuple[str, str, str]:
        """The network, MAC and address of the card that is made next."""
        network = _only(self.model, "devices/interface/source").get("network", "")
        return network, self.network.mac(self.number + 1), self.network.address(self.number + 1)

    def _definition(self, model: etree._Element, clone: Clone) -> str:
        root = etree.fromstring(etree.tostring(model))
        network, mac, address = clone.card
        _only(root, "name").text = f"slipway-bench-{clone.uuid}"
        _only(root, "uuid").text = str(clone.uuid)
        root.remove(_only(root, "metadata"))
        for device in root.findall("devices/disk"):
            if device.find("readonly") is None:
                _only(device, "source").set("file", str(clone.disk))
        card = _only(root, "devices/interface")
        _only(card, "mac").set("address", mac)
        for tap in card.findall("target"):
            tap.set("dev", tap_name(network, mac))
        for parameter in card.iterfind("filterref/parameter[@name='IP']"):
            parameter.set("value", address)
        for line in root.iterfind("devices/*/source"):
            path = line.get("path", "")
            if path.endswith((".serial", ".identity", ".run")):
                line.set("path", clone.socket_of(path.rpartition(".")[2]))
            elif path:  # libvirt's own, made anew
                line.getparent().remove(line)
        return str(etree.tostring(root, encoding="unicode"))


@dataclass(frozen=True)
class Wire:
    """The addresses at the end of a network, which the portal has not come to yet."""

    gateway: str
    prefix: int
    last: int  # the network's last host, as a number

    def address(self, number: int) -> str:
        value = self.last - number
        return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))

    @staticmethod
    def mac(number: int) -> str:
        return f"52:54:00:be:{number >> 8 & 255:02x}:{number & 255:02x}"


@contextlib.contextmanager
def phase(times: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    times[name] = times.get(name, 0) + time.monotonic() - began


def _nft(commands: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=commands, text=True, check=True)


def _load(domain: Any, state: Path) -> None:
    _monitor(domain, "migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
    with state.open("rb") as file:
        request = json.dumps({"execute": "getfd", "arguments": {"fdname": "bench"}})
        libvirt_qemu.qemuMonitorCommandWithFiles(domain, request, [file.fileno()], 0)
    _monitor(domain, "migrate-incoming", uri="fd:bench")
    while _monitor(domain, "query-migrate").get("status") != "completed":
        time.sleep(POLL_SECONDS)
    _monitor(domain, "migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": False}])


def _monitor(domain: Any, command: str, **arguments: Any) -> Any:
    request = json.dumps({"execute": command, "arguments": arguments} if arguments else {"execute": command})
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, request, 0))
    assert "error" not in answer, answer
    return answer["return"]


def _only(parent: etree._Element, path: str) -> etree._Element:
    (found,) = parent.findall(path)
    return found
