"""The other yardstick of bench/sandbox.py: the same clone made by QEMU alone, without libvirt."""

import json
import os
import re
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from ._bare_clone import Clone
from ._guest import POLL_SECONDS, connected, first_word


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
