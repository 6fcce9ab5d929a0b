"""The yardstick of bench/sandbox.py: the same clone made by a plain libvirt-python script, and by QEMU alone.

The script takes over the definition of a sandbox that Slipway made (its RAM, its hardware), so that both wake up the
same guest, and where it is compared with Slipway's it is as much of a clone: defined, and let through by the packet
filter. What it does not do is what a portal is for: no rows, no lease, no steps that can be taken up again.
"""

import contextlib
import json
import os
import re
import secrets
import socket
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

from hypervisor import run_wire
from hypervisor.identity import new_host_key
from hypervisor.nft_guard import build_admission, build_dismissal, tap_name

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.002


@dataclass
class Clone:
    """A clone of the script's: its files, and the seconds that each phase took."""

    domain: Any
    uuid: uuid.UUID
    folder: Path
    card: tuple[str, str, str] = ("", "", "")  # network, MAC, address
    kept: bool = False
    times: dict[str, float] = field(default_factory=dict)

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
        clone = Clone(None, uuid.uuid4(), self.folder, self._next_card())
        disk = self.folder / f"{clone.uuid}.qcow2"
        with phase(clone.times, "overlay"):
            base = str(self.frozen / "disk.qcow2")
            command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, str(disk)]
            subprocess.run(command, check=True)
            disk.chmod(0o666)
        with phase(clone.times, "create"):
            definition = self._definition(self.model, clone.uuid, disk)
            clone.domain = self.connection.createXML(definition, libvirt.VIR_DOMAIN_START_PAUSED)
        with phase(clone.times, "incoming"):
            _load(clone.domain, self.frozen / "state")
        return clone

    def keep(self, clone: Clone) -> None:
        """What makes it the same clone as Slipway's: it outlives its QEMU, and may send from its address."""
        clone.kept = True
        with phase(clone.times, "define"):
            definition = self._definition(self.kept, clone.uuid, self.folder / f"{clone.uuid}.qcow2")
            self.connection.defineXML(definition)
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

    def _definition(self, model: etree._Element, domain_uuid: uuid.UUID, disk: Path) -> str:
        root = etree.fromstring(etree.tostring(model))
        _only(root, "name").text = f"slipway-bench-{domain_uuid}"
        _only(root, "uuid").text = str(domain_uuid)
        root.remove(_only(root, "metadata"))
        for device in root.findall("devices/disk"):
            if device.find("readonly") is None:
                _only(device, "source").set("file", str(disk))
        card = _only(root, "devices/interface")
        _only(card, "mac").set("address", self.network.mac(self.number + 1))
        for tap in card.findall("target"):
            tap.set("dev", tap_name(*self._next_card()[:2]))
        for parameter in card.iterfind("filterref/parameter[@name='IP']"):
            parameter.set("value", self.network.address(self.number + 1))
        for line in root.iterfind("devices/*/source"):
            path = line.get("path", "")
            if path.endswith((".serial", ".identity", ".run")):
                line.set("path", str(self.folder / f"{domain_uuid}.{path.rpartition('.')[2]}"))
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


class BareQemu:
    """The same QEMU command line, started without libvirt: what libvirt itself costs.

    Descriptors that libvirt passes (the tap, the monitor) are replaced; its card is a tap that is plugged into nothing.
    """

    def __init__(self, clone: Clone, frozen: Path) -> None:
        self.folder, self.frozen = clone.folder, frozen
        self.words = _command_line(str(clone.uuid))
        self.old = str(clone.uuid)
        ports = [json.loads(word) for word in self.words if word.startswith("{") and "org.slipway.identity" in word]
        self._identity = str(ports[0]["chardev"])

    def first_reply(self) -> float:
        """Start it, load it, let it go on, and return the seconds until the guest's first answer."""
        name = str(uuid.uuid4())
        disk, monitor = self.folder / f"{name}.qcow2", self.folder / f"{name}.qmp"
        began = time.monotonic()
        base = str(self.frozen / "disk.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, str(disk)], check=True)
        process = subprocess.Popen(self._words(name, monitor), stdin=subprocess.DEVNULL)
        try:
            with connected(str(monitor), wait=True) as channel:
                qmp = _Qmp(channel)
                qmp.ask("qmp_capabilities")
                capability = {"capability": "x-ignore-shared", "state": True}
                qmp.ask("migrate-set-capabilities", capabilities=[capability])
                with (self.frozen / "state").open("rb") as state:
                    qmp.ask("getfd", descriptor=state.fileno(), fdname="bench")
                qmp.ask("migrate-incoming", uri="fd:bench")
                while qmp.ask("query-migrate").get("status") != "completed":
                    time.sleep(POLL_SECONDS)
                qmp.ask("migrate-set-capabilities", capabilities=[capability | {"state": False}])
                qmp.ask("cont")
            first_word(str(self.folder / f"{name}.identity"))
            return time.monotonic() - began
        finally:
            process.kill()
            process.wait()
            for file in self.folder.glob(f"{name}.*"):
                file.unlink()

    def _words(self, name: str, monitor: Path) -> list[str]:
        words, skip = [], False
        for option, value in zip(self.words, [*self.words[1:], ""], strict=True):
            if skip:
                skip = False
                continue
            if option == "-object" and "secret" in value:
                skip = True  # libvirt's own key
            elif option == "-netdev":
                words += ["-netdev", f"tap,id={_id_of(value)},ifname=swb{os.getpid()},script=no,downscript=no"]
                skip = True
            elif option == "-chardev" and "charmonitor" in value:
                words += ["-chardev", f"socket,id=charmonitor,path={monitor},server=on,wait=off"]
                skip = True
            elif option == "-chardev":
                kind = "identity" if _id_of(value) == self._identity else _id_of(value)
                path = self.folder / f"{name}.{kind}"
                words += ["-chardev", f"socket,id={_id_of(value)},path={path},server=on,wait=off"]
                skip = True
            elif option == "-vnc":
                words += ["-vnc", f"unix:{self.folder / name}.vnc"]
                skip = True
            elif option == "-add-fd":
                skip = True
            else:
                words.append(option.replace(self.old, name))
        return words


class _Qmp:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lines = channel.makefile("r")
        self._lines.readline()  # its greeting

    def ask(self, command: str, descriptor: int | None = None, **arguments: Any) -> Any:
        request = json.dumps({"execute": command, "arguments": arguments}).encode()
        if descriptor is None:
            self._channel.sendall(request)
        else:
            socket.send_fds(self._channel, [request], [descriptor])
        while True:
            answer = json.loads(self._lines.readline())
            assert "error" not in answer, answer
            if "return" in answer:
                return answer["return"]


@contextlib.contextmanager
def phase(times: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    times[name] = times.get(name, 0) + time.monotonic() - began


@contextlib.contextmanager
def connected(path: str, wait: bool = False) -> Iterator[socket.socket]:
    """Connect to a UNIX socket; `wait`: until there is one."""
    until = time.monotonic() + PATIENCE_SECONDS
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(PATIENCE_SECONDS)
        while True:
            try:
                channel.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if not wait or time.monotonic() > until:
                    raise
                time.sleep(POLL_SECONDS)
        yield channel


def first_word(path: str) -> None:
    """Wait for the guest's first reply on the identity channel."""
    word = secrets.token_hex(8)
    with connected(path) as channel:
        channel.sendall(f"ack={word}\n".encode())
        answer = b""
        while f"ack {word}\n".encode() not in answer:
            part = channel.recv(4096)
            assert part, f"the listener said {answer!r} and hung up"
            answer += part


def first_output(path: str, command: str) -> bytes:
    """Run a command through the guest's runner and return the first piece of its output."""
    run, nonce = uuid.uuid4(), run_wire.new_nonce()
    decoder = run_wire.Decoder(nonce)
    with connected(path) as channel:
        channel.sendall(run_wire.hello(uuid.uuid4(), nonce))
        begun = False
        while True:
            part = channel.recv(65536)
            assert part, "the runner hung up"
            for event in decoder.feed(part):
                if isinstance(event, run_wire.Hello) and not begun:
                    channel.sendall(run_wire.begin(run, run_wire.Order(argv=["/bin/sh", "-c", command])))
                    begun = True
                elif isinstance(event, run_wire.Output) and event.data:
                    return event.data


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


def _command_line(domain_uuid: str) -> list[str]:
    """Return the words of the QEMU that runs this domain."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "qemu-system" in words[0] and any(domain_uuid in word for word in words):
            return words[:-1]
    raise LookupError(domain_uuid)


def _id_of(value: str) -> str:
    if value.startswith("{"):
        return str(json.loads(value)["id"])
    found = re.search(r"(?:^|,)id=([^,]+)", value)
    assert found, value
    return found[1]


def _only(parent: etree._Element, path: str) -> etree._Element:
    (found,) = parent.findall(path)
    return found
